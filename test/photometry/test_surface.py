"""Normals of a rendered surface by its depth."""

import numpy as np
import pytest

from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.photometry.surface import Surface
from pad_ros.rendering.result import ReferenceRendering


@pytest.mark.parametrize("normal", [(0, 0, -1), (0.5, 0, -0.866), (-0.3, 0.4, -0.866)])
def test_a_plane_faces_the_same_way_all_over(normal):
    camera = Camera.from_fov(64, 48, 0.6)
    rows, columns = np.mgrid[:48, :64]
    rays = camera.rays(np.stack([columns + 0.5, rows + 0.5], axis=-1).reshape(-1, 2)).reshape(48, 64, 3)
    depth = (-3.0 / (rays @ np.array(normal))).astype(np.float32)
    rendering = ReferenceRendering(
        np.zeros((48, 64, 3), np.float32), np.ones((48, 64), np.float32), depth, np.zeros((48, 64, 0), np.float32),
        camera, Pose.identity(),
    )  # fmt: skip
    surface = Surface.of(rendering)
    inner = np.s_[8:-8, 8:-8]
    expected = np.array(normal) / np.linalg.norm(normal)
    assert np.abs(surface.normal[inner] - expected).max() < 0.02
    np.testing.assert_allclose(surface.depth[inner], depth[inner], rtol=0.01)
