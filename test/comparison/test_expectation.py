"""The expected residual: piecewise linear factors, and covariates that tell edges, gaps and rarely seen points."""

from dataclasses import replace

import numpy as np
import pytest
from model_factory import make_model
from splat_scenes import CAMERA, WHITE, box, orbit, photographs_of

from pad_ros.comparison.expectation import COVARIATES, SMALLEST, Expectation, on_part, points_and_covariates
from pad_ros.comparison.state import EARLIER_COVARIATES
from pad_ros.rendering.renderer import Renderer
from pad_ros.training.calibration import take_photographs

GAUSSIANS = box(800)
POSE = orbit(7)[1]


def rendering(photographs=(), count=0):
    features = np.tile(np.float32([0.04, 0.2, 0.125]), (len(GAUSSIANS), 1))
    return Renderer(GAUSSIANS, WHITE, features, "cpu", photographs, count).render(CAMERA, POSE)


def test_factors_are_interpolated_and_held_beyond_the_knots():
    knots = np.tile(np.float32([-1, 0, 2]), (1, 2, 1))
    values = np.float32([[[0, 1, 3], [0.5, 0.5, 0.5]]])
    covariates = np.zeros((5, 2), np.float32)
    covariates[:, 0] = [-5, -0.5, 0, 1, 9]
    found = Expectation(knots, values).predict(0, np.full(5, 0.1, np.float32), covariates)
    np.testing.assert_allclose(found, 0.1 * np.exp(np.array([0, 0.5, 1, 2, 3]) + 0.5), rtol=1e-5)


def test_interpolation_agrees_with_numpy():
    rng = np.random.default_rng(0)
    knots = np.sort(rng.normal(size=(2, 6, 7)), axis=2).astype(np.float32)
    values = rng.normal(size=knots.shape).astype(np.float32)
    covariates = rng.normal(size=(600, 6)).astype(np.float32)
    point = rng.uniform(0.01, 1, 600).astype(np.float32)
    for cue in range(2):
        log = sum(np.interp(covariates[:, j], knots[cue, j], values[cue, j]) for j in range(6))
        found = Expectation(knots, values).predict(cue, point, covariates)
        np.testing.assert_allclose(found, point * np.exp(log), rtol=1e-4)


def test_a_value_that_is_no_number_stays_none():
    knots = np.tile(np.float32([0, 1]), (1, 1, 1))
    covariates = np.full((1, 1), np.nan, np.float32)
    for point in (np.nan, 0.1):
        found = Expectation(knots, knots).predict(0, np.full(1, point, np.float32), covariates)
        assert np.isnan(found).all()


def everywhere(reference, cues):
    """The points and covariates of all pixels, as pictures."""
    shape = reference.alpha.shape
    found = points_and_covariates(reference, cues, np.arange(reference.alpha.size))
    return [(point.reshape(shape), covariates.reshape(*shape, -1)) for point, covariates in found]


def test_covariates_of_a_rendering():
    reference = rendering()
    inside = reference.alpha > 0.999
    cues = everywhere(reference, 2)
    for (point, covariates), mean in zip(cues, (0.04, 0.2), strict=True):
        assert point.shape == (128, 128) and covariates.shape == (128, 128, len(COVARIATES))
        assert point.dtype == covariates.dtype == np.float32 and np.all(np.isfinite(covariates))
        np.testing.assert_allclose(point[inside], mean + SMALLEST, rtol=0.02)
        np.testing.assert_allclose(covariates[..., 0], np.log(point), rtol=1e-5)
        np.testing.assert_allclose(covariates[inside][:, 2], 0.125, rtol=0.02)
        np.testing.assert_array_equal(covariates[..., 4], reference.alpha)
        assert np.all(covariates[..., 1] == 0)  # no photographs
    step = cues[0][1][..., 5]
    assert step[0, 0] == pytest.approx(np.log(1e-3)) and step.max() > step[0, 0] + 3
    assert not on_part(reference)[0, 0] and on_part(reference)[inside].all()
    some = np.flatnonzero(inside)[::7]
    for (point, covariates), (points, all_covariates) in zip(points_and_covariates(reference, 2, some), cues):
        np.testing.assert_array_equal(point, points.ravel()[some])
        np.testing.assert_array_equal(covariates, all_covariates.reshape(-1, len(COVARIATES))[some])


def test_photographs_that_see_a_point_are_counted():
    views = photographs_of(GAUSSIANS, 8)
    photographs = take_photographs(GAUSSIANS, views, WHITE, "cpu")
    reference = rendering(photographs, 3)
    seen = everywhere(reference, 2)[0][1][..., 1]
    np.testing.assert_array_equal(seen, reference.seen.sum(axis=0))
    assert 0 < seen.max() <= 3


@pytest.mark.parametrize("cues", [1, 2])
def test_a_part_out_of_sight_has_covariates_too(cues):
    away = orbit(7)[1]
    empty = Renderer(GAUSSIANS, WHITE, np.zeros((len(GAUSSIANS), cues + 1), np.float32)).render(
        CAMERA.cropped(0, 0, 4, 4), away
    )
    for point, covariates in everywhere(empty, cues):
        assert np.all(np.isfinite(point)) and np.all(np.isfinite(covariates))
    assert not on_part(empty).any()


def test_photographs_that_contradict_the_rendering_are_told():
    reference = rendering()
    same, other = reference.rgb8, reference.rgb8.copy()
    patch = np.s_[58:70, 58:70]
    other[patch] = 255 - other[patch]
    seen = np.ones((2, *same.shape[:2]), bool)
    ((_, covariates),) = everywhere(replace(reference, photographs=np.stack([same, other]), seen=seen), 1)
    nearest, farthest = covariates[..., -2], covariates[..., -1]
    inside = np.s_[60:68, 60:68]
    assert nearest[inside].max() < farthest[inside].min()
    assert farthest[inside].min() > farthest[:50].max()
    unseen = replace(reference, photographs=other[None], seen=np.zeros((1, *same.shape[:2]), bool))
    ((_, covariates),) = everywhere(unseen, 1)
    np.testing.assert_allclose(covariates[..., -2:], np.log(SMALLEST))  # their number is a covariate of its own


def test_a_model_of_before_knows_the_first_covariates_only():
    knots = np.tile(np.linspace(-6, 6, 7, dtype=np.float32), (1, EARLIER_COVARIATES, 1))
    state = make_model(0).calibration.state
    earlier = replace(state, knots=knots, factors=np.zeros_like(knots))
    earlier.check(len(state.rarity))
    ((point, covariates),) = points_and_covariates(rendering(), 1, np.arange(64))
    np.testing.assert_allclose(earlier.expectation.predict(0, point, covariates), point, rtol=1e-6)
