"""The strategy of SplatPose and IGSPAD: no pose that the verifier does not accept, never that of the nearest view."""

from dataclasses import replace

import numpy as np
import pytest
from box_model import POSES, located, make_box_model, photograph
from splat_scenes import put_off

from pad_ros.imaging.geometry import rotation_angle
from pad_ros.inspector import Inspector
from pad_ros.localization.view_matcher import ViewMatcher
from pad_ros.methods.presets import load_method
from pad_ros.verdicts import Reason

FEW = ("optimization.pixels=4096", "optimization.decay=0.5", "optimization.decay_steps=15", "refinement.renderings=1")


def inspector(*overrides: str, **calibration: float) -> Inspector:
    method = load_method("pad", [*FEW, "optimization.steps=60", *overrides])
    model = make_box_model(**calibration)
    rng = np.random.default_rng(0)
    described = {"vocabulary": rng.normal(size=(2, 128)), "view_descriptors": rng.normal(size=(3, 256))}
    sfm_map = replace(model.sfm_map, **{name: values.astype(np.float32) for name, values in described.items()})
    return Inspector(replace(model, sfm_map=sfm_map, settings=method.to_dict()), "cpu")


@pytest.fixture
def best_view(monkeypatch):
    """Says which pose the most similar view has, and how many matches."""

    def say(pose, matches: int = 200) -> None:
        monkeypatch.setattr(ViewMatcher, "best_view", lambda self, features, window: (pose, matches))

    return say


@pytest.mark.parametrize("radius", [0, 30])
def test_the_descent_ends_at_the_pose(best_view, monkeypatch, radius):
    best_view(put_off(POSES[1], 5.0, 0.01, np.random.default_rng(1)))
    spread = np.stack(np.meshgrid(np.arange(20, 120, 12), np.arange(20, 120, 12)), axis=-1).reshape(-1, 2).astype(float)
    monkeypatch.setattr(ViewMatcher, "shared_points", lambda self, features, rendering, window: spread)
    found = located(
        inspector("optimization.ssim_weight=0", f"optimization.matched_radius={radius}"), photograph(POSES[1])
    )
    assert found.pose is not None and found.matches == 200 and found.covariance.shape == (6, 6)
    assert np.degrees(rotation_angle(found.pose, POSES[1])) < 0.8
    assert [(a.strategy, a.outcome) for a in found.attempts] == [("pose optimization", "accepted")]


def test_a_wrong_pose_is_no_pose(best_view):
    best_view(POSES[4])
    found = located(inspector("optimization.steps=5"), photograph(POSES[1]))
    assert found.pose is None and found.reason is Reason.WEAK_POSE and "differs from the image" in found.reason_text
    assert [a.strategy for a in found.attempts] == ["pose optimization"]


def test_a_view_with_few_matches_is_not_descended_from(best_view):
    best_view(POSES[1], 3)
    found = located(inspector(), photograph(POSES[1]))
    assert found.pose is None and found.reason is Reason.NOT_LOCALIZED and "only 3 matches" in found.reason_text


def test_a_view_that_is_not_covered_is_no_pose(best_view):
    best_view(POSES[5])
    found = located(inspector("optimization.steps=1", coverage=0.01), photograph(POSES[5]))
    assert found.pose is None and found.reason is Reason.OUTSIDE_COVERAGE


def test_images_without_features_are_not_localized():
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    for image in (noise, np.tile(np.arange(128, dtype=np.uint8)[:, None, None], (1, 128, 3))):
        assert located(inspector(), image).reason is Reason.NOT_LOCALIZED
