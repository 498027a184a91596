"""Several views of one part: gathering on the surface, agreement, coverage, the part's verdict."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_factory import make_map, make_model
from scipy.spatial import cKDTree

from pad_ros.decision.fusion import FusionSettings, PartFusion, Surface, part_surface
from pad_ros.rendering.gaussians import Gaussians
from pad_ros.verdicts import Reason, Verdict

THRESHOLD = 2.0


def sphere(count: int = 2000) -> np.ndarray:
    """Points spread evenly over the unit sphere (Fibonacci lattice)."""
    i = np.arange(count) + 0.5
    z, angle = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z**2)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)


SURFACE = Surface(sphere())


def view(direction, spots=(), seed=0):
    """Pixels of the half of the sphere that faces `direction`; spots: (place, anomaly) pairs."""
    points = sphere(6000)
    points = points[points @ np.array(direction) > 0.1]
    points = points + np.random.default_rng(seed).normal(scale=0.003, size=points.shape)
    values = np.full(len(points), 0.5)
    for place, value in spots:
        values[np.linalg.norm(points - np.array(place), axis=1) < 0.12] = value
    return points, values


def fuse(views, **settings):
    fusion = PartFusion(SURFACE, THRESHOLD, FusionSettings(**settings))
    for points, values in views:
        rejects = values.max() > THRESHOLD
        verdict, reason = (Verdict.REJECT, Reason.ANOMALY) if rejects else (Verdict.PASS, Reason.NONE)
        fusion.add(verdict, reason, "as seen", points, values)
    return fusion.result()


TOP, SIDE, BELOW = (0, 0, 1), (1, 0, 0), (0, 0, -1)
RIM = (0.7071, 0, 0.7071)  # seen from the top and from the side


def test_good_views_pass_and_cover():
    result = fuse([view(TOP)])
    assert (result.verdict, result.reason, result.views) == (Verdict.PASS, Reason.NONE, 1)
    assert result.score == 0.5 and result.coverage == pytest.approx(0.45, abs=0.06)
    assert fuse([view(TOP), view(BELOW), view(SIDE), view((-1, 0, 0))]).coverage > 0.9


def test_a_defect_is_placed_on_the_part():
    result = fuse([view(TOP, [(RIM, 5.0)]), view(SIDE, [(RIM, 4.0)], seed=1)])
    assert (result.verdict, result.score) == (Verdict.REJECT, 5.0)
    (defect,) = result.defects
    assert np.linalg.norm(np.array(defect.position) - RIM) < 0.05
    assert 0.06 < defect.radius < 0.25
    assert (defect.views, defect.views_above) == (2, 2)


def test_what_only_one_of_two_views_shows_counts_by_agreement():
    views = [view(TOP, [(RIM, 5.0)]), view(SIDE, seed=1)]
    assert fuse(views).verdict is Verdict.REJECT
    result = fuse(views, agreeing=2)
    assert result.verdict is Verdict.PASS and "1 rejected, not confirmed" in result.reason_text
    both = [view(TOP, [(RIM, 5.0)]), view(SIDE, [(RIM, 3.0)], seed=1)]
    result = fuse(both, agreeing=2)
    assert (result.verdict, result.score) == (Verdict.REJECT, 3.0)


def test_where_only_one_view_looked_it_alone_counts():
    assert fuse([view(TOP, [(TOP, 5.0)]), view(BELOW)], agreeing=2).verdict is Verdict.REJECT


def test_two_defects_are_two():
    result = fuse([view(TOP, [((0, 0.6, 0.8), 5.0), ((0, -0.6, 0.8), 9.0)])])
    assert [defect.peak_score for defect in result.defects] == [9.0, 5.0]


def test_a_strong_pixel_off_the_surface_is_not_lost():
    points, values = view(TOP)
    points, values = np.concatenate([points, [[0, 0, 1.5]]]), np.append(values, 9.0)
    result = fuse([(points, values)])
    assert result.verdict is Verdict.REJECT and np.allclose(result.defects[0].position, TOP, atol=0.1)


def held(fusion, reason=Reason.WEAK_POSE):
    fusion.add(Verdict.HOLD, reason, "a reason")


def test_a_held_view_holds_the_part():
    fusion = PartFusion(SURFACE, THRESHOLD, FusionSettings())
    fusion.add(Verdict.PASS, Reason.NONE, "", *view(TOP))
    held(fusion)
    result = fusion.result()
    assert (result.verdict, result.reason, result.held) == (Verdict.HOLD, Reason.WEAK_POSE, 1)
    assert "a reason" in result.reason_text
    fusion = PartFusion(SURFACE, THRESHOLD, FusionSettings(max_held=5))
    held(fusion)
    assert fusion.result().verdict is Verdict.HOLD  # not a single view was judged
    fusion.add(Verdict.PASS, Reason.NONE, "", *view(TOP))
    assert fusion.result().verdict is Verdict.PASS


def test_missing_views_hold_the_part():
    fusion = PartFusion(SURFACE, THRESHOLD, FusionSettings(views=3))
    assert (fusion.result().verdict, fusion.result().reason) == (Verdict.HOLD, Reason.DROPPED)
    fusion.add(Verdict.PASS, Reason.NONE, "", *view(TOP))
    assert "1 of 3 views" in fusion.result().reason_text
    assert PartFusion(SURFACE, THRESHOLD, FusionSettings()).result().verdict is Verdict.HOLD


def test_coverage_is_asked_for():
    result = fuse([view(TOP)], min_coverage=0.8)
    assert (result.verdict, result.reason) == (Verdict.HOLD, Reason.OUTSIDE_COVERAGE)


def test_a_rejection_without_a_place_stands():
    for points, values, placed in ((None, None, True), (*view(TOP), False)):
        fusion = PartFusion(SURFACE, THRESHOLD, FusionSettings(agreeing=2))
        fusion.add(Verdict.REJECT, Reason.ANOMALY, "beside the part", points, values, placed)
        fusion.add(Verdict.PASS, Reason.NONE, "", *view(SIDE))
        assert fusion.result().verdict is Verdict.REJECT


def test_a_model_without_threshold_holds():
    fusion = PartFusion(SURFACE, float("nan"), FusionSettings())
    fusion.add(Verdict.PASS, Reason.NONE, "", *view(TOP))
    assert fusion.result().reason is Reason.UNCALIBRATED


def test_nothing_judged_holds():
    """Two views pass, but neither brings a map: once the part passed with score nan and 0 % judged."""
    fusion = PartFusion(SURFACE, THRESHOLD, FusionSettings(views=2))
    for _ in range(2):
        fusion.add(Verdict.PASS, Reason.NONE, "")
    result = fusion.result()
    assert (result.verdict, result.reason, result.coverage) == (Verdict.HOLD, Reason.OUTSIDE_COVERAGE, 0.0)
    assert "no place on the part was judged" in result.reason_text
    points, values = view(TOP)
    fusion.add(Verdict.PASS, Reason.NONE, "", points, np.full_like(values, np.nan))
    assert fusion.result().verdict is Verdict.HOLD


def test_a_repeated_answer_counts_but_is_no_view():
    fusion = PartFusion(SURFACE, THRESHOLD, FusionSettings(views=2))
    fusion.add(Verdict.PASS, Reason.NONE, "", *view(TOP))
    fusion.add(Verdict.REJECT, Reason.ANOMALY, "the same view once more", repeated=True)
    assert fusion.views == 1 and fusion.result().verdict is Verdict.REJECT


@given(st.lists(st.tuples(st.sampled_from(list(Verdict)), st.floats(), st.floats()), max_size=4), st.integers(1, 3))
def test_whatever_comes_never_passes_by_default(views, agreeing):
    """Any values, NaN and infinity too: PASS only where a view passed and nothing fused is above the threshold."""
    fusion = PartFusion(SURFACE, THRESHOLD, FusionSettings(agreeing=agreeing))
    for verdict, place, value in views:
        reason = {Verdict.HOLD: Reason.WEAK_POSE, Verdict.PASS: Reason.NONE}.get(verdict, Reason.ANOMALY)
        fusion.add(verdict, reason, "text", np.array([[place, 0.0, 1.0]]), np.array([value]))
    result = fusion.result()
    if result.verdict is Verdict.PASS:
        assert not result.held and not result.score > THRESHOLD and views
        assert agreeing > 1 or not result.rejected
    assert 0 <= result.coverage <= 1 and result.reason_text


def test_a_surface_needs_points():
    with pytest.raises(ValueError, match="two points"):
        Surface(np.zeros((1, 3)))


def test_the_surface_of_a_model_is_what_its_views_see():
    """Opaque Gaussians on a sphere, seen by a ring of views: the points lie on its belt, evenly."""
    radius, places = 0.5, 0.5 * sphere(3000)
    values = (places, np.tile([1.0, 0, 0, 0], (3000, 1)), np.full((3000, 3), 0.02), np.full(3000, 0.99),
              np.zeros((3000, 1, 3)))  # fmt: skip
    gaussians = Gaussians(*(x.astype(np.float32) for x in values))
    model = dataclasses.replace(make_model(), gaussians=gaussians, sfm_map=make_map(views=8))
    points = part_surface(model.gaussians, model.background, model.camera, model.sfm_map.poses)
    assert len(points) > 100
    assert abs(np.median(np.linalg.norm(points, axis=1)) - radius) < 0.1 * radius
    assert np.ptp(points, axis=0).min() > 1.2 * radius
    spacing, _ = cKDTree(points).query(points, k=2)
    assert np.quantile(spacing[:, 1], 0.9) < 2 * np.median(spacing[:, 1])


def test_a_model_that_shows_nothing_has_no_surface():
    model = make_model()
    assert part_surface(model.gaussians, model.background, model.camera, model.sfm_map.poses).shape == (0, 3)
