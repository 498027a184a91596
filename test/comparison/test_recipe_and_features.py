"""Features beside colours, and the recipe of SplatPose+."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from benchmark_modules import benchmark
from judging import map_of
from model_factory import make_calibration
from published_networks import random_backbone
from splat_scenes import CAMERA, WHITE, box, orbit

from pad_ros.comparison.calibrated import CalibratedComparison
from pad_ros.comparison.features import GRADIENTS, feature_difference, features_of
from pad_ros.comparison.recipe import CosineComparison, RecipeComparison, cosine_map, recipe_map
from pad_ros.comparison.state import ComparisonState
from pad_ros.errors import InputError
from pad_ros.methods.presets import load_method
from pad_ros.networks.architectures import IMAGENET_DEVIATION
from pad_ros.networks.backbones import Backbone
from pad_ros.rendering.renderer import Renderer
from pad_ros.settings import ScoringSettings

DEEP = ScoringSettings(backbone="mobilenet_v2")
RECIPE = ScoringSettings(comparison="recipe", backbone="mobilenet_v2", scales=(4.0,))
GAUSSIANS = box(1500)
PATCH = np.s_[60:72, 66:78]


@pytest.fixture(scope="module")
def rendering():
    return Renderer(GAUSSIANS, WHITE).render(CAMERA, orbit(7)[1])


@pytest.fixture(scope="module")
def patched(rendering):
    image = rendering.rgb8
    image[PATCH] = np.where(np.indices((12, 12)).sum(axis=0)[..., None] % 4 < 2, 255, 0)
    return image


@pytest.fixture(scope="module")
def backbone(shared) -> Backbone:
    coral = benchmark("stand_in")
    if not (shared / "weights" / coral.FILE).is_file():
        pytest.skip(f"no {coral.FILE} in {shared / 'weights'}")
    return Backbone(coral.stand_in(shared / "weights"))


@pytest.fixture(params=["gradients", "backbone"])
def features(request):
    return GRADIENTS if request.param == "gradients" else features_of(random_backbone())


def test_equal_images_do_not_differ(rendering, features):
    assert np.abs(feature_difference(rendering.rgb8, rendering, features)).max() < 2e-3
    exact = replace(rendering, rgb=rendering.rgb8.astype(np.float32) / 255)
    assert np.abs(recipe_map(rendering.rgb8, exact, random_backbone())).max() < 1e-5
    assert np.abs(cosine_map(rendering.rgb8, exact, random_backbone())).max() < 1e-5


@pytest.mark.parametrize("comparison", [CalibratedComparison, RecipeComparison, CosineComparison])
def test_the_residual_is_largest_at_the_defect(rendering, patched, backbone, comparison):
    found = comparison(DEEP, backbone)._residual(patched, rendering)
    assert found.shape == (128, 128, 2 if comparison is CalibratedComparison else 1) and found.dtype == np.float32
    for c in range(found.shape[2]):
        y, x = np.unravel_index(found[..., c].argmax(), (128, 128))
        assert 56 <= y < 76 and 62 <= x < 82
        assert found[..., c].min() >= 0


def test_features_away_from_the_part_are_not_compared(rendering, features):
    image = rendering.rgb8
    image[:4, :4] = 0
    assert not feature_difference(image, rendering, features)[:4, :4].any()


@pytest.mark.parametrize("kind", ["gradients", "backbone"])
def test_a_photograph_that_explains_the_query_clears_it(rendering, patched, kind, request):
    features = GRADIENTS if kind == "gradients" else features_of(request.getfixturevalue("backbone"))
    seen = np.zeros((1, 128, 128), np.bool_)
    seen[0][PATCH] = True
    explained = replace(rendering, photographs=patched[None], seen=seen)
    assert feature_difference(patched, explained, features).max() < 0.01
    assert feature_difference(patched, rendering, features).max() > 0.1
    hidden = replace(explained, seen=np.zeros_like(seen))  # what a photograph did not see it cannot explain
    assert np.array_equal(
        feature_difference(patched, hidden, features), feature_difference(patched, rendering, features)
    )


def test_a_rendering_without_the_part_is_compared_in_full(rendering, features):
    empty = replace(rendering, alpha=np.zeros_like(rendering.alpha))
    image = rendering.rgb8
    image[:4, :4] = 0
    assert feature_difference(image, empty, features)[:4, :4].any()


class Flat:
    """A backbone whose features are all equal: only the colours differ."""

    def levels(self, images):
        return [np.zeros((len(images), 4, 7 >> i or 1, 7 >> i or 1), np.float32) for i in range(5)]


def test_the_recipe_adds_squared_differences_of_normalised_colours_and_blurs_at_224_px(rendering):
    image = rendering.rgb8
    image[PATCH] = (255, 0, 255)
    exact = replace(rendering, rgb=rendering.rgb8.astype(np.float32) / 255)
    difference = (image.astype(np.float32) / 255 - exact.rgb) / np.array(IMAGENET_DEVIATION, np.float32)
    big = np.sum(cv2.resize(difference, (224, 224)) ** 2, axis=2)
    expected = cv2.resize(cv2.GaussianBlur(big, (9, 9), 4), (128, 128))
    assert recipe_map(image, exact, Flat()) == pytest.approx(expected, abs=1e-4)


def test_without_statistics_the_residual_is_the_evidence(rendering):
    calibration = replace(make_calibration(1500), state=ComparisonState.without_statistics(1500), scale=2.0)
    image = rendering.rgb8
    image[PATCH] = 0
    found = map_of(image, rendering, calibration, RecipeComparison(RECIPE, random_backbone()))
    assert found.expected == 0
    assert found.values == pytest.approx(recipe_map(image, rendering, random_backbone()) / 2)


def test_presets_name_their_networks_and_settings_are_checked():
    assert load_method("pad").networks == ()
    assert load_method("pad_deep").networks == ("xfeat", "efficientnet-lite0")
    plus = load_method("splatpose_plus")
    assert plus.networks == ("aliked-n16", "lightglue-aliked", "netvlad", "efficientnet-b4")
    assert (plus.splatting.steps, plus.splatting.sh_degree, plus.scoring.comparison) == (15_000, 3, "recipe")
    assert load_method("background").networks == (*plus.networks, "birefnet", "lama")
    assert load_method("omniposead").networks == ("efficientnet-b4",)
    with pytest.raises(InputError, match="backbone: expected one of none, .*, efficientnet_lite0, .*got 'vgg'"):
        load_method("pad", ["scoring.backbone=vgg"])
    with pytest.raises(InputError, match="scoring.comparison: expected one of calibrated, recipe"):
        load_method("pad", ["scoring.comparison=uniform"])
    with pytest.raises(InputError, match="scoring.backbone must name a network"):
        load_method("pad", ["scoring.comparison=recipe"])
