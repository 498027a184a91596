"""The comparison inside masks: which mask sees what, and the ground behind."""

from dataclasses import replace

import numpy as np
import pytest
from published_networks import random_backbone, random_network
from splat_scenes import CAMERA, WHITE, box, orbit

from pad_ros.comparison.background import BackgroundComparison, level_map
from pad_ros.comparison.choices import create_comparison
from pad_ros.comparison.recipe import recipe_map
from pad_ros.comparison.state import ComparisonState
from pad_ros.errors import InputError, ModelError
from pad_ros.networks.segmenters import GrabCut
from pad_ros.photometry.prepared_query import PreparedQuery
from pad_ros.rendering.renderer import Renderer
from pad_ros.settings import ScoringSettings

STATE = ComparisonState.without_statistics(800)
SETTINGS = ScoringSettings(comparison="background", backbone="mobilenet_v2", segmenter="grabcut", photographs=0)
BESIDE = np.s_[3:13, 3:13]  # of the image, off the part


class Finds:
    """In place of a segmenter: finds what it was given."""

    def __init__(self, mask):
        self.mask = mask

    def part(self, image, box):
        return self.mask


@pytest.fixture(scope="module")
def rendering():
    return Renderer(box(800), WHITE).render(CAMERA, orbit(7)[1])


@pytest.fixture(scope="module")
def part(rendering):
    return rendering.alpha > 0.5


def on_belt(rendering, part) -> np.ndarray:
    """The part on a striped belt."""
    belt = np.where((np.indices((128, 128)).sum(axis=0) // 8 % 2)[..., None] > 0, 90, 120).astype(np.uint8)
    return np.where(part[..., None], rendering.rgb8, belt)


def evidence(image, rendering, masks, found):
    comparison = BackgroundComparison(replace(SETTINGS, masks=masks), random_backbone(), Finds(found))
    return comparison.evidence(PreparedQuery(image, CAMERA, WHITE), rendering, STATE)


def test_before_a_foreign_ground_a_good_part_differs_less_inside_masks(rendering, part):
    image = on_belt(rendering, part)
    highest = {m: evidence(image, rendering, m, part).values.max() for m in ("none", "rendering", "image", "union")}
    assert highest["union"] < 0.5 * highest["none"] and highest["rendering"] < 0.5 * highest["none"]


@pytest.mark.parametrize(("masks", "added", "missing"), [
    ("union", True, True), ("image", True, False), ("rendering", False, True),
])  # fmt: skip
def test_added_parts_need_the_images_mask_and_missing_ones_the_renderings(masks, added, missing, rendering, part):
    good = on_belt(rendering, part)
    usual = evidence(good, rendering, masks, part).values
    more, more_part = good.copy(), part.copy()
    more[BESIDE], more_part[BESIDE] = (200, 30, 30), True
    found = evidence(more, rendering, masks, more_part).values
    assert (found[BESIDE].max() > usual.max()) == added
    rows, columns = np.nonzero(part)
    gone = part & (np.arange(128) > np.quantile(columns, 0.8))[None]
    less = np.where(gone[..., None], on_belt(rendering, np.zeros_like(part)), good)
    found = evidence(less, rendering, masks, part & ~gone).values
    middle = gone & (np.arange(128) > np.quantile(columns, 0.9))[None]
    assert (found[middle].max() > usual.max()) == missing


def test_what_is_around_the_part_is_only_judged_where_a_segmenter_found_the_part(rendering, part):
    image = on_belt(rendering, part)
    for masks, found, judged in (
        ("union", part, True), ("image", part, True), ("rendering", part, False), ("union", part & False, False),
    ):  # fmt: skip
        assert evidence(image, rendering, masks, found).surroundings_judged == judged
    assert np.array_equal(evidence(image, rendering, "union", part).ground, ~part)


def test_equal_images_do_not_differ_and_scale_does_not_matter(rendering):
    image, exact = rendering.rgb8, rendering.rgb8.astype(np.float32) / 255
    assert level_map(image, exact, random_backbone()).max() < 1e-5
    other = level_map(255 - image, exact, random_backbone())
    assert other.shape == (128, 128) and 0 < other.max() < 5 * np.sqrt(2) + 1e-3  # five levels of unit vectors


def test_omniposeads_map_is_a_length(rendering):
    """Where the difference is the same all over, blurring changes nothing: the root of SplatPose+'s."""
    image = np.zeros((64, 64, 3), np.uint8)
    grey = replace(rendering, rgb=np.full((64, 64, 3), 0.5, np.float32))
    squared, length = (recipe_map(image, grey, random_backbone(), norm) for norm in (False, True))
    assert length[32, 32] == pytest.approx(np.sqrt(squared[32, 32]), rel=0.1)


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="scoring.masks=union needs a mask"):
        create_comparison(replace(SETTINGS, segmenter="none"))
    with pytest.raises(InputError, match="must name a network"):
        create_comparison(replace(SETTINGS, backbone="none"))
    with pytest.raises(ModelError, match="lama is missing"):
        create_comparison(replace(SETTINGS, inpainter="lama", backbone="mobilenet_v2"), (random_network(),))
    made = create_comparison(replace(SETTINGS, masks="rendering", segmenter="none"), (random_network(),))
    assert isinstance(made, BackgroundComparison)
    assert isinstance(create_comparison(SETTINGS, (random_network(),))._finder, GrabCut)
    assert replace(SETTINGS, inpainter="lama", segmenter="birefnet").networks == ("mobilenet-v2", "birefnet", "lama")
