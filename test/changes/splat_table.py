"""A table with boxes made of Gaussians, known without any training, and photographs of it after changes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from model_factory import make_map

from pad_ros.changes.cues import normal_residual
from pad_ros.changes.known_scene import NO_BACKGROUND, KnownScene, Seen
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.methods.presets import load_method
from pad_ros.rendering.gaussians import Gaussians
from pad_ros.rendering.renderer import Renderer

CAMERA = Camera.from_fov(120, 90, 0.7)
SH_C0 = 0.28209479177387814
RED, BLUE, GREEN = (0.8, 0.1, 0.1), (0.1, 0.2, 0.8), (0.1, 0.6, 0.15)
SIDE = 0.45


@dataclass(frozen=True)
class Block:
    """A cube on the table."""

    x: float
    y: float
    colour: tuple[float, float, float]


BEFORE = (Block(-0.7, 0.0, RED), Block(0.6, 0.6, BLUE))


def gaussians(blocks: Sequence[Block]) -> Gaussians:
    """A table of 3 x 3 units in patches of grey, and the blocks."""
    rng = np.random.default_rng(0)
    line = np.linspace(-1.5, 1.5, 46)
    table = np.stack([*np.meshgrid(line, line), np.zeros((46, 46))], axis=-1).reshape(-1, 3)
    means, colours, scales = [table], [np.repeat(rng.uniform(0.35, 0.75, (len(table), 1)), 3, axis=1)], [flat(table, 2)]
    for block in blocks:
        step = np.linspace(-0.5, 0.5, 9)
        for axis in range(3):
            for sign in (-0.5, 0.5):
                face = np.stack(np.meshgrid(step, step), axis=-1).reshape(-1, 2)
                points = np.insert(face, axis, sign, axis=1) * SIDE + (block.x, block.y, SIDE / 2)
                means.append(points)
                colours.append(block.colour * (0.85 + 0.3 * rng.random((len(points), 1))))
                scales.append(flat(points, axis))
    joined = np.concatenate(means).astype(np.float32)
    quats = np.tile(np.array([1.0, 0, 0, 0], np.float32), (len(joined), 1))
    sh = ((np.concatenate(colours) - 0.5) / SH_C0).astype(np.float32)[:, None]
    return Gaussians(joined, quats, np.concatenate(scales), np.full(len(joined), 0.95, np.float32), sh)


def flat(points: np.ndarray, axis: int) -> np.ndarray:
    scales = np.full((len(points), 3), 0.035, np.float32)
    scales[:, axis] = 0.004
    return scales


def poses(count: int = 8) -> list[Pose]:
    found = []
    for k in range(count):
        elevation, angle = np.radians(42 + 16 * (k % 2)), 2 * np.pi * k / count
        direction = np.array([np.cos(angle) * np.cos(elevation), np.sin(angle) * np.cos(elevation), np.sin(elevation)])
        found.append(Pose.look_at(4.0 * direction, np.zeros(3), np.array([0.0, 0.0, 1.0])))
    return found


def known_scene() -> KnownScene:
    splats = gaussians(BEFORE)
    renderer = Renderer(splats, NO_BACKGROUND)
    usual = normal_residual(renderer, [(CAMERA, pose, np.full((90, 120, 2), 0.01, np.float32)) for pose in poses(3)])
    rng = np.random.default_rng(0)
    points = rng.uniform((-1.4, -1.4, 0), (1.4, 1.4, 0.45), (200, 3))
    return KnownScene(
        splats, replace(make_map(landmarks=200), points=points), CAMERA, load_method("scene_change"), usual
    )


def photographs(known: KnownScene, blocks: Sequence[Block], count: int = 8) -> list[Seen]:
    """The table with other blocks, from poses that are known."""
    now = Renderer(gaussians(blocks), NO_BACKGROUND)
    return [
        Seen(f"{k}.png", now.part(CAMERA, pose).rgb8, known.renderer.part(CAMERA, pose))
        for k, pose in enumerate(poses(count))
    ]


def truth(blocks: Sequence[Block], pose: Pose) -> np.ndarray:
    """Where [H, W] one of these blocks shows, alone on the table."""
    alone, table = (Renderer(gaussians(these), NO_BACKGROUND).part(CAMERA, pose).depth for these in (blocks, ()))
    return np.asarray(np.abs(alone - table) > 0.02)
