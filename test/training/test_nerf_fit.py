"""The fit of a radiance field: what it draws its rays from. How sharp it gets: test_deep_methods and the benchmark."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from splat_scenes import WHITE, box, photographs_of

from pad_ros.errors import TrainingError
from pad_ros.rendering.radiance_field import RadianceField
from pad_ros.settings import NerfSettings
from pad_ros.training import nerf_fit

SMALL = NerfSettings(layers=1, width=8, frequencies=2, view_frequencies=0, samples=4, fine_samples=4, steps=3, rays=32,
                     max_side=16)  # fmt: skip


def test_rays_of_the_part_are_those_inside_the_masks() -> None:
    views = [nerf_fit._reduced(view, 16) for view in photographs_of(box(300), 4)]
    points = SimpleNamespace(points=box(300).means.astype(np.float64))
    field = RadianceField(nerf_fit._begun(nerf_fit._box(tuple(views), points, np.random.default_rng(0)), SMALL,
                                          np.random.default_rng(0)))  # fmt: skip
    rays, colours, part = nerf_fit._training_rays(views, field)
    assert len(rays.origins) == len(colours)
    assert 0 < len(part) < len(colours)  # the box holds more than the part
    assert len(part) <= sum(int(view.mask.sum()) for view in views)


def test_the_same_seed_gives_the_same_field() -> None:
    views, points = photographs_of(box(300), 4), SimpleNamespace(points=box(300).means.astype(np.float64))
    first, again = (nerf_fit.fit_nerf(views, WHITE, points, SMALL, float("inf"), "cpu", 0) for _ in range(2))
    assert all(np.array_equal(first.arrays[name], again.arrays[name]) for name in first.arrays)


def test_views_whose_masks_are_empty_are_refused() -> None:
    views = photographs_of(box(300), 4)
    box_of_all, empty = nerf_fit._box, tuple(replace(view, mask=np.zeros_like(view.mask)) for view in views)
    points = SimpleNamespace(points=box(300).means.astype(np.float64))
    bounds = box_of_all(views, points, np.random.default_rng(0))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nerf_fit, "_box", lambda *given: bounds)
        with pytest.raises(TrainingError, match="no view shows the part"):
            nerf_fit.fit_nerf(empty, WHITE, points, SMALL, float("inf"), "cpu", 0)
