"""Views of scattered points, for SfM without pictures: each point has a descriptor of its own."""

from __future__ import annotations

import numpy as np
from textured_cube import ring_poses

from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.imaging.views import ReferenceViews, View
from pad_ros.localization.features import Features

SIZE = 400
TRUE = Camera(SIZE, SIZE, 520.0, 520.0, SIZE / 2, SIZE / 2)
GUESS = Camera(SIZE, SIZE, 480.0, 480.0, SIZE / 2, SIZE / 2)
BLANK = np.full((SIZE, SIZE, 3), 255, np.uint8)


def seen_by(pose: Pose, camera: Camera = TRUE, seed: int = 0, count: int = 400) -> Features:
    """The features of a cloud of points at `pose`: each point in every picture, a quarter of a pixel off."""
    generator = np.random.default_rng(seed)
    points = generator.uniform(-0.9, 0.9, (count, 3))
    descriptors = generator.integers(0, 255, (count, 128)).astype(np.uint8)
    descriptors[generator.random((count, 128)) < 0.7] = 0  # so that two of them are as unlike as real ones
    noise = np.random.default_rng([seed, round(1e6 * abs(float(pose.centre[0])))]).normal(0, 0.25, (count, 2))
    pixels = camera.project(pose.transform(points)) + noise
    inside = np.all((pixels > 0) & (pixels < SIZE), axis=1)
    return Features(pixels[inside], descriptors[inside], np.ones(int(inside.sum()), np.float32))


def ring(count: int, camera: Camera = TRUE) -> tuple[ReferenceViews, list[Features]]:
    """Views around the points, without poses and with a guessed camera, and their features."""
    poses = ring_poses(count)
    views = [View(f"{i:02d}.jpg", BLANK, GUESS) for i in range(count)]
    return ReferenceViews(tuple(views), "photos"), [seen_by(pose, camera) for pose in poses]
