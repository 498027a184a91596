"""Factors of the expected residual are found again from samples, and are mild without evidence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pad_ros.comparison.expectation import COVARIATES, KNOTS, SMALLEST, Expectation
from pad_ros.comparison.expectation_fit import PixelSample, choose_knots, fit_factors

J = len(COVARIATES)


def sample(count, seed, factor=lambda covariates: np.zeros(len(covariates)), shape=2.0):
    """Gamma-distributed residuals around point * exp(factor)."""
    rng = np.random.default_rng(seed)
    covariates = rng.normal(size=(count, J)).astype(np.float32)
    point = rng.uniform(0.02, 0.2, count).astype(np.float32)
    mean = point * np.exp(factor(covariates))
    residual = np.maximum(rng.gamma(shape, mean / shape) - SMALLEST, 0)
    return PixelSample(point, covariates, residual.astype(np.float32))


def predict(knots, factors, point, covariates):
    return Expectation(knots[None], factors[None]).predict(0, point, covariates)


def test_factors_are_found_again():
    def factor(covariates):
        return 0.3 * covariates[:, 0] - 0.5 * np.abs(covariates[:, 1]) + 0.4

    samples = [sample(6000, i, factor) for i in range(6)]
    knots = choose_knots(samples)
    factors = fit_factors(samples, knots)
    assert knots.shape == factors.shape == (J, KNOTS) and knots.dtype == factors.dtype == np.float32
    new = sample(2000, 99, factor)
    inside = np.abs(new.covariates).max(axis=1) < 1.5
    wrong = np.log(predict(knots, factors, new.point, new.covariates) / (new.point * np.exp(factor(new.covariates))))
    assert np.abs(wrong[inside]).mean() < 0.1


def test_even_samples_need_no_factors():
    samples = [sample(5000, i) for i in range(4)]
    factors = fit_factors(samples, choose_knots(samples))
    assert np.abs(factors - factors[:, :1]).max() < 0.15


def test_few_pixels_change_little():
    samples = [sample(20, 0, lambda c: 3 * c[:, 2])]
    factors = fit_factors(samples, choose_knots(samples))
    assert np.abs(factors[1:]).max() < 1.5


def test_outliers_do_not_lead():
    clean = [sample(5000, i) for i in range(4)]
    residual = clean[0].residual.copy()
    residual[:50] = 1e3
    stained = [PixelSample(clean[0].point, clean[0].covariates, residual), *clean[1:]]
    knots = choose_knots(clean)
    found = [predict(knots, fit_factors(s, knots), clean[1].point, clean[1].covariates) for s in (clean, stained)]
    assert np.abs(np.log(found[1] / found[0])).mean() < 0.1


def test_knots_increase_for_covariates_that_are_constant():
    samples = [sample(500, 0)]
    samples[0].covariates[:, 3] = 1.0
    samples[0].covariates[:, 1] = np.round(samples[0].covariates[:, 1])
    knots = choose_knots(samples)
    assert np.all(np.diff(knots) > 0)
    assert np.all(np.isfinite(fit_factors(samples, knots)))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(0, 2**31), st.sampled_from([0.0, 1e-6, 1.0, 1e6]))
def test_whatever_the_samples_the_factors_are_finite(count, seed, scale):
    drawn = sample(count, seed)
    samples = [PixelSample(drawn.point, drawn.covariates * np.float32(scale), drawn.residual * np.float32(scale))]
    knots = choose_knots(samples)
    assert np.all(np.diff(knots) > 0) and np.all(np.isfinite(fit_factors(samples, knots)))


def test_without_samples_all_factors_are_one():
    assert np.all(fit_factors([], choose_knots([sample(10, 0)])) == 0)


@pytest.mark.parametrize("level", [0.1, 1.0, 10.0])
def test_the_level_is_learned(level):
    samples = [sample(4000, i, lambda c: np.full(len(c), np.log(level))) for i in range(3)]
    knots = choose_knots(samples)
    found = predict(knots, fit_factors(samples, knots), samples[0].point, samples[0].covariates)
    assert np.median(found / samples[0].point) == pytest.approx(level, rel=0.1)
