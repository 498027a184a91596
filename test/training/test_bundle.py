from dataclasses import replace

import numpy as np
import pytest
from textured_cube import GROUND, cube_views, ring_poses

from pad_ros.imaging.geometry import Pose, rotation_angle
from pad_ros.imaging.views import ReferenceViews
from pad_ros.training.bundle import Change
from pad_ros.training.mapping import build_map

COUNT = 20


def measured(degrees: float) -> ReferenceViews:
    """Views whose poses are wrong by about so much, as a robot's may be."""
    generator = np.random.default_rng(3)
    views = cube_views(COUNT)
    off = np.radians(degrees) * np.concatenate([generator.normal(size=(COUNT, 3)), np.zeros((COUNT, 3))], axis=1)
    wrong = tuple(replace(view, pose=view.pose.retract(twist)) for view, twist in zip(views.views, off, strict=True))
    return replace(views, views=wrong, exact=False)


def errors(poses: tuple[Pose, ...]) -> float:
    return float(np.median([np.degrees(rotation_angle(a, b)) for a, b in zip(poses, ring_poses(COUNT), strict=True)]))


@pytest.mark.slow
def test_measured_poses_are_refined_and_exact_ones_are_not(capsys):
    views = measured(0.3)
    before = errors(tuple(view.pose for view in views.views))
    refined, used = build_map(views, GROUND)
    assert errors(refined.poses) < before
    assert used.views[0].pose is refined.poses[0]
    said = capsys.readouterr().err
    assert "poses refined: reprojection error" in said
    for kept, _ in (build_map(views, GROUND, refine=False), build_map(replace(views, exact=True), GROUND)):
        assert errors(kept.poses) == pytest.approx(before)
    assert len(refined.points) > len(kept.points)


@pytest.mark.slow
def test_poses_that_refinement_does_not_improve_are_kept(capsys):
    views = measured(0.0)
    refined, _ = build_map(views, GROUND)
    assert errors(refined.poses) == 0
    assert "poses refined" not in capsys.readouterr().err


def test_poses_that_were_far_off_are_named():
    fine = Change(1.2, 0.4, 0.1, 0.001, 0.4, 0.004)
    assert str(fine) == (
        "poses refined: reprojection error 1.20 -> 0.40 px, moved by 0.100 degrees and 0.10 % of the distance (median)"
    )
    far = str(replace(fine, largest_degrees=6.0))
    assert "warning: at most 6.0 degrees and 0.4 %, so the given poses were wrong: check where they come from" in far
