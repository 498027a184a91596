"""Samples of the part: what query and rendering show at the same places, and of the part alone."""

from dataclasses import replace

import numpy as np
import pytest
from splat_scenes import CAMERA, WHITE, box, orbit

from pad_ros.photometry.samples import MAX_PIXELS, sample_part
from pad_ros.rendering.renderer import Renderer


@pytest.fixture(scope="module")
def rendering():
    return Renderer(box(4000), WHITE).render(CAMERA.resized(256, 256), orbit(7)[1])


@pytest.mark.parametrize("size", [100, 256])  # whole pixels, and blocks of four
def test_a_query_like_the_rendering_has_the_same_colours(size):
    shown = Renderer(box(4000), WHITE).render(CAMERA.resized(size, size), orbit(7)[1])
    for query in (shown.rgb, shown.rgb8):
        samples = sample_part(query, shown)
        assert 500 <= len(samples.pixels) <= MAX_PIXELS
        np.testing.assert_allclose(samples.query, samples.reference, atol=0.003)


def test_pixels_say_where_the_samples_were_taken(rendering):
    height, width = rendering.alpha.shape
    ramp = np.stack(np.broadcast_arrays(*np.mgrid[:height, :width], 0), axis=2).astype(np.float32) / height
    samples = sample_part(ramp, rendering)
    rows, columns = rendering.inside
    places = np.stack(np.unravel_index(samples.pixels, rendering.alpha[rendering.inside].shape), axis=1)
    expected = (places + [rows.start, columns.start] + 0.5) / height  # a block's middle
    inner = np.abs(samples.query[:, :2] - expected)
    assert np.median(inner) < 0.6 / height and inner.max() < 4 / height  # at the outline only the part is mixed


def test_what_is_around_the_part_is_not_mixed_in(rendering):
    query = np.where(rendering.alpha[..., None] > 0.95, rendering.rgb, np.float32([1, 0, 1]))
    samples = sample_part(query, rendering)
    np.testing.assert_allclose(samples.query, samples.reference, atol=1e-5)


def test_hardly_any_of_the_part_in_sight_gives_none(rendering):
    away = replace(rendering, alpha=np.zeros_like(rendering.alpha))
    assert sample_part(rendering.rgb, away) is None
