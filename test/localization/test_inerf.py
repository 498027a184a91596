"""The pose by descent through a radiance field: its parts, and a field that is known exactly."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from published_networks import random_network
from splat_scenes import CAMERA, WHITE, box, orbit

from pad_ros.imaging.geometry import Pose, rotation_angle
from pad_ros.localization.backbone_retrieval import BackboneRetrieval
from pad_ros.localization.cascade import Search
from pad_ros.localization.inerf import DILATIONS, KERNEL, Inerf, descend, interesting, moved
from pad_ros.localization.refinement import Refinement
from pad_ros.localization.result import Localization
from pad_ros.photometry.prepared_query import PreparedQuery
from pad_ros.rendering.nerf import BOUNDS, NETWORKS, Nerf, layer_shapes
from pad_ros.rendering.nerf_renderer import NerfRenderer
from pad_ros.rendering.renderer import Renderer
from pad_ros.settings import NerfSettings
from pad_ros.verdicts import Reason

SMALL = NerfSettings(
    layers=1, width=8, frequencies=0, view_frequencies=0, samples=8, fine_samples=8, pose_steps=40, pose_rays=256,
)  # fmt: skip


def ramps() -> Nerf:
    """A solid box whose red, green and blue grow along x, y and z."""
    arrays = {BOUNDS: np.array([[-0.7, -0.6, -0.5], [0.7, 0.6, 0.5]], np.float32)}
    for network in NETWORKS:
        for name, shape in layer_shapes(SMALL).items():
            arrays[f"{network}.{name}"] = np.zeros(shape, np.float32)
        arrays[f"{network}.layers.0.weight"][:6] = np.concatenate([np.eye(3), -np.eye(3)])  # x and -x, clipped below 0
        arrays[f"{network}.density.bias"][:] = 30
        arrays[f"{network}.feature.weight"][:6, :6] = np.eye(6)
        arrays[f"{network}.view.weight"][:3, :6] = np.concatenate([np.eye(3), -np.eye(3)], axis=1)
        arrays[f"{network}.view.bias"][:3] = 1
        arrays[f"{network}.colour.weight"][:, :3] = 2 * np.eye(3)
        arrays[f"{network}.colour.bias"][:] = -2
    return Nerf(arrays, SMALL)


@pytest.fixture(scope="module")
def renderer() -> NerfRenderer:
    return NerfRenderer(ramps(), box(300), WHITE, None, "cpu")


def test_a_motion_turns_about_the_centre_and_shifts_by_sizes():
    centre, size = torch.tensor([1.0, 2.0, 3.0]), torch.tensor(2.0)
    still = moved(torch.tensor([0.3, -0.2, 0.1, 0.0, 0.0, 0.0]), centre, size)
    assert torch.allclose(still[:3, :3] @ centre + still[:3, 3], centre, atol=1e-5)
    assert Pose(still.double().numpy()) is not None  # a rotation
    shifted = moved(torch.tensor([0.0, 0.0, 0.0, 0.5, 0.0, 0.0]), centre, size)
    assert torch.allclose(shifted[:3, 3], torch.tensor([1.0, 0.0, 0.0]))


def test_regions_lie_around_points_of_interest():
    image = np.full((80, 100, 3), 200, np.uint8)
    cv2.circle(image, (30, 40), 6, (20, 40, 60), -1)
    found = interesting(image)
    reach = DILATIONS * (KERNEL // 2) + 10
    assert len(found) and np.abs(found - (30, 40)).max() <= reach
    assert len(interesting(np.full((8, 10, 3), 7, np.uint8))) == 80  # nothing of interest: everything


def test_descent_ends_nearer_to_the_truth(renderer):
    truth = orbit(7)[1]
    image = renderer.part(CAMERA, truth).rgb8
    turn = Pose.from_rt(cv2.Rodrigues(np.radians([3.0, -3.0, 4.0]))[0], np.zeros(3))
    start = truth @ turn
    found = descend(renderer, image, CAMERA, start)
    assert rotation_angle(found, truth) < 0.4 * rotation_angle(start, truth)
    assert np.array_equal(found.matrix, descend(renderer, image, CAMERA, start).matrix)


class Verifier:
    """Says what it is told."""

    def __init__(self, verdict: Localization) -> None:
        self.verdict, self.given = verdict, []

    def refine(self, query, pose):
        self.given.append(pose)
        return Refinement(pose, False, 0.1, 0.1, None, None, pose)

    def judge(self, refined, found):
        return replace(self.verdict, pose=refined.pose if self.verdict.reason is Reason.NONE else None)


class Retrieves:
    def most_similar_view(self, query):
        return 1


@pytest.mark.parametrize("reason", [Reason.NONE, Reason.WEAK_POSE])
def test_the_verifier_decides(renderer, reason):
    """What the descent comes to, or the view that it began at, is no pose by itself."""
    poses = orbit(7)
    image = renderer.part(CAMERA, poses[1]).rgb8
    verifier = Verifier(Localization(None, reason, "as told"))
    search = Search(PreparedQuery(image, CAMERA, WHITE))
    found = Inerf(verifier, Retrieves(), renderer, poses).attempt(search)
    assert rotation_angle(verifier.given[0], poses[1]) < np.radians(1)
    if reason is Reason.NONE:
        assert found.pose is verifier.given[0] and not search.attempts
    else:
        assert found is None and search.failure.pose is None
        assert search.attempts[0].strategy == "descent" and search.attempts[0].outcome == "as told"


def test_views_of_a_part_are_told_apart_by_a_backbones_maps():
    renderer, poses = Renderer(box(800), WHITE), orbit(7)
    retrieval, nothing = BackboneRetrieval(random_network()), None  # local features are not used
    views = np.stack([retrieval.describe(renderer.part(CAMERA, pose).rgb8, nothing) for pose in poses])
    assert np.allclose(np.linalg.norm(views, axis=1), 1, atol=1e-5)
    near = poses[3] @ Pose.from_rt(cv2.Rodrigues(np.radians([0.0, 0.0, 4.0]))[0], np.zeros(3))
    assert (views @ retrieval.describe(renderer.part(CAMERA, near).rgb8, nothing)).argmax() == 3
