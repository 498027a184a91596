"""A tiny reference model, made without training: a ball of Gaussians, seen by a ring of views."""

import numpy as np

from pad_ros.comparison.expectation import COVARIATES
from pad_ros.comparison.state import ComparisonState
from pad_ros.decision.calibration import Calibration
from pad_ros.imaging.background import Background
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.localization.sfm_map import SfmMap
from pad_ros.methods.presets import load_method
from pad_ros.model import ReferenceModel
from pad_ros.rendering.gaussians import Gaussians
from pad_ros.rendering.photographs import Photograph

CAMERA = Camera(64, 48, 80.0, 80.0, 32.0, 24.0)


def make_map(views: int = 3, landmarks: int = 12, seed: int = 0) -> SfmMap:
    """Every view sees every landmark; descriptors are random."""
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, views, endpoint=False)
    centres = 3 * np.stack([np.cos(angles), np.sin(angles), np.full(views, 0.3)], axis=1)
    poses = tuple(Pose.look_at(centre, np.zeros(3), np.array([0.0, 0, 1])) for centre in centres)
    points = rng.uniform(-0.3, 0.3, (landmarks, 3))
    seen = [CAMERA.project(pose.transform(points)) for pose in poses]
    return SfmMap(
        view_names=tuple(f"train/good/{i}.png" for i in range(views)),
        poses=poses,
        cameras=(CAMERA,) * views,
        points=points,
        colours=rng.integers(0, 256, (landmarks, 3)).astype(np.uint8),
        errors=rng.uniform(0.1, 1.0, landmarks).astype(np.float32),
        descriptors=rng.integers(0, 256, (views * landmarks, 128)).astype(np.uint8),
        descriptor_landmark=np.tile(np.arange(landmarks), views).astype(np.int32),
        descriptor_view=np.repeat(np.arange(views), landmarks).astype(np.int32),
        keypoints=np.concatenate(seen).astype(np.float32),
        view_descriptors=rng.normal(size=(views, 8)).astype(np.float32),
        features="sift",
        vocabulary=rng.normal(size=(2, 4)).astype(np.float32),
    )


def make_gaussians(count: int = 20, sh_degree: int = 1, seed: int = 0) -> Gaussians:
    rng = np.random.default_rng(seed)
    values = (
        0.2 * rng.normal(size=(count, 3)), rng.normal(size=(count, 4)), 0.03 + 0.05 * rng.random((count, 3)),
        0.2 + 0.7 * rng.random(count), 0.3 * rng.normal(size=(count, (sh_degree + 1) ** 2, 3)),
    )  # fmt: skip
    return Gaussians(*(x.astype(np.float32) for x in values))


def make_calibration(gaussians: int = 20, seed: int = 0) -> Calibration:
    rng = np.random.default_rng(seed)
    state = ComparisonState(
        residual_mean=rng.uniform(0, 5, (gaussians, 1)).astype(np.float32),
        rarity=rng.uniform(0.02, 1, gaussians).astype(np.float32),
        knots=np.tile(np.linspace(-6, 6, 7, dtype=np.float32), (1, len(COVARIATES), 1)),
        factors=np.zeros((1, len(COVARIATES), 7), np.float32),
        deviation=(1.5,),
        off_part=(0.01,),
        max_evidence=10.0,
    )
    return Calibration(
        state=state,
        scores=rng.uniform(0.5, 1.5, 9).astype(np.float32),
        threshold=1.6,
        false_reject_rate=0.01,
        promised_rate=0.1,
        coverage=0.5,
        max_loss=0.5,
        max_expected=50.0,
        scale=1.0,
    )


def make_photographs(count: int = 2, seed: int = 0) -> tuple[Photograph, ...]:
    rng = np.random.default_rng(seed)
    return tuple(
        Photograph(
            name=f"train/good/{i}.png",
            image=rng.integers(0, 256, (10 + i, 12, 3)).astype(np.uint8),
            depth=rng.uniform(2, 4, (10 + i, 12)).astype(np.float16),
            camera=CAMERA.cropped(20, 15, 12, 10 + i),
            pose=Pose.look_at(np.array([3.0, i, 1]), np.zeros(3), np.array([0.0, 0, 1])),
        )
        for i in range(count)
    )


def make_model(gaussians: int = 20, calibrated: bool = True, name: str = "ball") -> ReferenceModel:
    """A model of the preset `pad` that can be saved, loaded and rendered; it knows no real part."""
    method = load_method("pad")
    return ReferenceModel(
        name=name,
        method=method.name,
        settings=method.to_dict(),
        camera=CAMERA,
        background=Background((255.0, 255.0, 255.0), 10.0),
        sfm_map=make_map(),
        gaussians=make_gaussians(gaussians),
        photographs=make_photographs(),
        calibration=make_calibration(gaussians) if calibrated else None,
        training={"views": 3, "held_out": {"psnr": 30.0, "psnr_part": 25.0, "ssim": 0.97, "views": 1}, "seconds": 1.0},
        created="2026-01-01T00:00:00+00:00",
    )
