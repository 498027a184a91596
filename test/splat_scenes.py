"""A part made of Gaussians, and photographs of it: a stand-in for a trained model that takes no training."""

import numpy as np

from pad_ros.imaging.background import Background
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.imaging.views import View
from pad_ros.rendering.gaussians import Gaussians
from pad_ros.rendering.renderer import Renderer

CAMERA = Camera(128, 128, 190.0, 190.0, 64.0, 64.0)
DISTANCE = 4.0
WHITE = Background((255.0, 255.0, 255.0), 10.0)
SH_C0 = 0.28209479177387814


def box(count: int = 500, seed: int = 0, opacity: float = 0.95) -> Gaussians:
    """A box of 1.4 x 1.2 x 1.0 units whose faces are covered with spots of random colour."""
    rng = np.random.default_rng(seed)
    means = rng.uniform(-1, 1, (count, 3))
    axes = rng.integers(3, size=count)
    means[np.arange(count), axes] = np.where(rng.random(count) < 0.5, -1, 1)
    means *= (0.7, 0.6, 0.5)
    scales = rng.uniform(0.04, 0.09, (count, 3))
    scales[np.arange(count), axes] = 0.01
    colours = rng.uniform(0.05, 0.85, (count, 3))
    return Gaussians(
        means=means.astype(np.float32),
        quats=np.tile(np.array([1.0, 0, 0, 0], np.float32), (count, 1)),
        scales=scales.astype(np.float32),
        opacities=np.full(count, opacity, np.float32),
        sh=((colours - 0.5) / SH_C0).astype(np.float32)[:, None],
    )


def arrays(gaussians: Gaussians) -> list[np.ndarray]:
    return [x for x in vars(gaussians).values() if isinstance(x, np.ndarray)]


def orbit(count: int, distance: float = DISTANCE) -> list[Pose]:
    """Cameras all around the part, at changing heights."""
    z = np.sin(2.3 * np.arange(count)) * 0.6
    angle = 0.4 + 2 * np.pi * np.arange(count) / count  # never straight onto a face
    centres = np.stack([np.cos(angle) * np.sqrt(1 - z**2), np.sin(angle) * np.sqrt(1 - z**2), z], axis=1)
    return [Pose.look_at(distance * centre, np.zeros(3), np.array([0.0, 0, 1])) for centre in centres]


def photographs_of(gaussians: Gaussians, count: int) -> tuple[View, ...]:
    """Views of the part before white, with poses and silhouettes."""
    renderer = Renderer(gaussians, WHITE)
    views = []
    for i, pose in enumerate(orbit(count)):
        rendering = renderer.render(CAMERA, pose)
        views.append(View(f"{i}.png", rendering.rgb8, CAMERA, pose, rendering.alpha > 0.5))
    return tuple(views)


def put_off(pose: Pose, degrees: float, share: float, rng: np.random.Generator) -> Pose:
    """The pose after turning the part by `degrees` and moving it by a share of its distance, in random directions."""
    axis, direction = rng.normal(size=3), rng.normal(size=3)
    turn = Pose.identity().retract(np.concatenate([np.radians(degrees) * axis / np.linalg.norm(axis), np.zeros(3)]))
    shift = share * np.linalg.norm(pose.centre) * direction / np.linalg.norm(direction)
    return Pose.from_rt(np.eye(3), shift) @ pose @ turn
