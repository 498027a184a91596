"""CUDA gives what the CPU gives: pictures, loss, statistics, fit, poses and scores. For `make test-gpu`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from network_states import aliked_state, netvlad_state, network_of, superpoint_state
from splat_scenes import CAMERA, WHITE, box, orbit, photographs_of

from pad_ros.comparison.surface_statistics import residual_statistics
from pad_ros.compute.threads import only_our_threads
from pad_ros.imaging import images
from pad_ros.imaging.geometry import rotation_angle
from pad_ros.inspector import Inspector
from pad_ros.localization.aliked import AlikedFeatures
from pad_ros.localization.features import Features, LocalFeatures
from pad_ros.localization.netvlad import NetVlad
from pad_ros.localization.superpoint import SuperPointFeatures
from pad_ros.rendering.losses import SsimTarget, photometric_gradient
from pad_ros.rendering.renderer import Renderer
from pad_ros.rendering.tensors import GaussianTensors
from pad_ros.settings import SplattingSettings
from pad_ros.training import train_views
from pad_ros.training.initialise import initial_gaussians
from pad_ros.training.splatting import fit_gaussians, rendering_quality

if TYPE_CHECKING:
    from toy import Toy

pytestmark = pytest.mark.gpu

DEVICES = ("cpu", "cuda")


@pytest.fixture(autouse=True)
def gsplat() -> None:
    pytest.importorskip("gsplat", reason="gsplat is not installed")


@pytest.mark.parametrize("eps2d", [0.1, 0.3])
def test_renderings_agree(eps2d: float) -> None:
    gaussians = replace(box(800), eps2d=eps2d)
    features = np.random.default_rng(0).uniform(0, 1, (800, 3)).astype(np.float32)
    for pose in orbit(4):
        ours, theirs = (Renderer(gaussians, WHITE, features, device).render(CAMERA, pose) for device in DEVICES)
        np.testing.assert_allclose(ours.rgb, theirs.rgb, atol=5e-3)
        np.testing.assert_allclose(ours.alpha, theirs.alpha, atol=5e-3)
        np.testing.assert_allclose(ours.features, theirs.features, atol=5e-3)
        solid = ours.alpha > 0.5
        np.testing.assert_allclose(ours.depth[solid], theirs.depth[solid], rtol=5e-3)


def test_loss_and_gradient_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    image, target = (torch.rand(37, 53, 3, generator=generator) for _ in range(2))
    (loss, ours), (other, theirs) = (
        photometric_gradient(image.to(d), SsimTarget(target.to(d)), 0.2) for d in DEVICES
    )  # fmt: skip
    assert float(loss) == pytest.approx(float(other), rel=1e-4)
    assert float((ours - theirs.cpu()).norm() / ours.norm()) < 1e-3


def test_statistics_of_residuals_agree() -> None:
    gaussians = box(600)
    rng = np.random.default_rng(0)
    residual = rng.uniform(0, 1, (CAMERA.height, CAMERA.width, 2)).astype(np.float32)
    samples = [(CAMERA, pose, residual) for pose in orbit(5)]
    ours, theirs = (residual_statistics(Renderer(gaussians, WHITE, device=device), samples) for device in DEVICES)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=2e-2)
    np.testing.assert_allclose(ours.overall_mean, theirs.overall_mean, rtol=1e-3)


def test_the_same_gaussians_are_seen_most() -> None:
    gaussians, views = box(600), photographs_of(box(600), 6)
    chosen = [
        train_views.most_seen(
            GaussianTensors.of(gaussians, d), [train_views.TrainView.of(view, 8, d) for view in views], 0.5
        )
        for d in DEVICES
    ]
    ours, theirs = (set(indices.tolist()) for indices in chosen)
    assert len(ours) == len(theirs) == 300 and len(ours & theirs) >= 290


def test_a_fit_gets_as_far() -> None:
    views = photographs_of(box(600), 12)
    surface = box(600, seed=1).means.astype(np.float64)
    settings = SplattingSettings(gaussians=800, steps=300, sh_degree=1)
    colours = np.full((600, 3), 128, np.uint8)
    start = initial_gaussians(views, surface, colours, settings.gaussians, 1, np.random.default_rng(0))
    with only_our_threads():
        quality = [
            rendering_quality(fit_gaussians(start, views, WHITE, settings, float("inf"), device), views, WHITE, device)
            for device in DEVICES
        ]
    assert quality[1].psnr == pytest.approx(quality[0].psnr, abs=1.0)


@pytest.mark.slow
def test_poses_and_verdicts_agree(toy: Toy) -> None:
    inspectors = [Inspector.load(toy.bundle, device) for device in DEVICES]
    for path in (toy.good, toy.defect, toy.foreign, toy.black):
        ours, theirs = (inspector.inspect(images.load(path)) for inspector in inspectors)
        assert ours.verdict == theirs.verdict, path.name
        assert ours.reason == theirs.reason, path.name
        if ours.localization is not None and ours.localization.pose is not None:
            assert theirs.localization is not None and theirs.localization.pose is not None
            assert np.degrees(rotation_angle(ours.localization.pose, theirs.localization.pose)) < 0.02
            assert theirs.score == pytest.approx(ours.score, rel=0.03)


@pytest.mark.parametrize("kind", ["aliked", "superpoint"])
def test_features_of_networks_agree(kind: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), 2.0))
    found = []
    for device in DEVICES:
        if kind == "aliked":
            features: LocalFeatures = AlikedFeatures(network_of(aliked_state()), device, limit=100, threshold=0.0)
        else:
            features = SuperPointFeatures(network_of(superpoint_state()), device, limit=100)
        found.append(features.extract(image))
    ours, theirs = found
    assert len(ours) > 20
    apart = np.linalg.norm(ours.keypoints[:, None] - theirs.keypoints[None], axis=2)
    nearest = apart.argmin(axis=1)
    same = apart.min(axis=1) < 0.1
    assert same.mean() > 0.9  # equally good keypoints may change places
    cosine = (ours.descriptors * theirs.descriptors[nearest]).sum(axis=1)
    assert np.median(cosine[same]) > 0.99


def test_vectors_of_images_agree() -> None:
    image = np.random.default_rng(1).integers(0, 256, (80, 100, 3)).astype(np.uint8)
    nothing = Features(np.zeros((0, 2)), np.zeros((0, 128), np.uint8), np.zeros(0, np.float32))
    ours, theirs = (NetVlad(network_of(netvlad_state()), d).describe(image, nothing) for d in DEVICES)
    assert float(ours @ theirs) > 0.999
