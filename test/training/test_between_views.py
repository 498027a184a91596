"""Landmarks between few views: on the surface, with the features that a query between them shows."""

from dataclasses import replace

import numpy as np
import pytest
from model_factory import make_map
from splat_scenes import CAMERA, WHITE, box, orbit

from pad_ros.imaging.geometry import Pose
from pad_ros.imaging.views import View
from pad_ros.localization.landmarks import LandmarkIndex
from pad_ros.rendering.renderer import Renderer
from pad_ros.settings import LocalizationSettings
from pad_ros.training.between_views import poses_between, with_views_between
from pad_ros.training.mapping_tools import MappingTools

PART = box(1500)
BIG = CAMERA.resized(512, 512)  # enough pixels for features
COUNT = 10
CENTRE = np.zeros(3)
TOOLS = MappingTools(LocalizationSettings(), {}, WHITE, "cpu")


def photographed(pose):
    rendering = Renderer(PART, WHITE).render(BIG, pose)
    return View("view", rendering.rgb8, BIG, pose, rendering.alpha > 0.5)


@pytest.fixture(scope="module")
def denser():
    views = [photographed(pose) for pose in orbit(COUNT)]
    poses = tuple(view.pose for view in views)
    sparse = replace(make_map(COUNT), poses=poses, cameras=(BIG,) * COUNT)
    return sparse, with_views_between(sparse, views, PART, WHITE, TOOLS)


def test_new_landmarks_lie_on_the_surface(denser):
    sparse, found = denser
    count = len(sparse.points)
    assert len(found.points) > count + 100
    np.testing.assert_array_equal(found.points[:count], sparse.points)
    new = found.points[count:]
    off = np.abs(np.abs(new) / (0.7, 0.6, 0.5) - 1).min(axis=1)  # from the nearest face of the box
    assert np.median(off) < 0.05
    assert found.view_names == sparse.view_names and found.poses == sparse.poses  # the views reach no farther
    assert found.descriptors.dtype == np.uint8 and found.descriptor_landmark.max() == len(found.points) - 1


def test_features_of_a_query_between_views_find_them(denser):
    sparse, found = denser
    poses = orbit(COUNT)
    query = poses_between(poses[:2], CENTRE)[0]
    turned = Pose.from_rt(query.rotation, query.translation + (0.05, 0.02, 0.1))
    features = TOOLS.extract_view(TOOLS.features, photographed(turned))
    pairs = LandmarkIndex(found).match_all(features, 0.9, 0.05, None)
    pixels = BIG.project(turned.transform(found.points[pairs[:, 1]]))
    near = np.linalg.norm(pixels - features.keypoints[pairs[:, 0]], axis=1) < 3
    assert near.sum() > 30 and near.mean() > 0.5
    lost = LandmarkIndex(sparse).match_all(features, 0.9, 0.05, None)
    assert len(lost) < 0.2 * near.sum()


def test_poses_between_lie_halfway_and_apart():
    poses = orbit(COUNT)
    between = poses_between(poses, CENTRE)
    assert len(between) > COUNT // 2
    centres = np.array([pose.centre for pose in between])
    directions = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    cosines = directions @ directions.T - 2 * np.eye(len(directions))
    assert np.degrees(np.arccos(cosines.max())) > 6.9
    for pose in between:
        np.testing.assert_allclose(pose.transform(CENTRE[None])[0][:2], 0, atol=0.3)  # the part stays in the middle
    assert poses_between(orbit(1) * 3, CENTRE) == []  # there is nothing between views of one place


def test_without_anything_to_see_the_map_stays(denser):
    sparse, _ = denser
    views = [photographed(pose) for pose in orbit(2)]
    nothing = replace(PART, opacities=np.full(len(PART), 0.01, np.float32))
    assert with_views_between(sparse, views, nothing, WHITE, TOOLS) is sparse
