"""Features, matcher and retrieval by name: what goes together, what each needs, and a pose with each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from network_states import netvlad_state, shared_network
from safetensors.torch import save
from textured_cube import CAMERA, GROUND, cube_map, cube_views, draw, ring_poses

from pad_ros.errors import InputError, MissingDependencyError, ModelError
from pad_ros.imaging.geometry import Pose, rotation_angle, translation_error
from pad_ros.localization.choices import FEATURES, check_map, create_features, needed_networks
from pad_ros.localization.localizer import Localizer
from pad_ros.methods.presets import load_method
from pad_ros.networks.network import Network, read_networks
from pad_ros.networks.registry import REGISTRY
from pad_ros.photometry.prepared_query import PreparedQuery
from pad_ros.settings import LocalizationSettings
from pad_ros.training.mapping import build_map


def test_what_each_choice_needs() -> None:
    def needed(*names: str) -> tuple[str, ...]:
        return needed_networks(LocalizationSettings(*names))

    assert needed("sift", "nearest", "vlad") == ()
    assert needed("aliked", "lightglue", "netvlad") == ("aliked-n16", "lightglue-aliked", "netvlad")
    assert needed("xfeat", "lighterglue", "vlad") == ("xfeat", "lighterglue")
    assert needed("xfeat", "lightglue", "vlad") == ("xfeat", "lightglue-xfeat")
    assert needed("superpoint", "lightglue", "vlad") == ("superpoint", "lightglue-superpoint")
    for name in FEATURES:
        assert set(needed(name, "nearest", "netvlad")) <= set(REGISTRY)


@pytest.mark.parametrize(
    ("overrides", "mentions"),
    [(["features=orb"], "sift, aliked"), (["matcher=glue"], "nearest, lighterglue, lightglue"),
     (["retrieval=bow"], "vlad, netvlad"), (["features=3"], "features"),
     (["matcher=lighterglue"], "lighterglue matches features=xfeat only, not sift"),
     (["matcher=lightglue", "features=aliked-t16"], "features=superpoint, aliked-n16, xfeat only, not aliked-t16")],
)  # fmt: skip
def test_what_does_not_go_together(overrides: list[str], mentions: str) -> None:
    with pytest.raises(InputError, match=mentions):
        load_method("pad", [f"localization.{override}" for override in overrides])


def test_the_choice_is_part_of_the_method() -> None:
    method = load_method("pad", ["localization.features=aliked"])
    assert method.to_dict()["localization"]["features"] == "aliked"
    assert method.networks == ("aliked-n16",)
    assert load_method("pad").networks == ()


def test_missing_weights_say_how_to_get_them(tmp_path: Path) -> None:
    method = load_method("pad", ["localization.features=superpoint"])
    with pytest.raises(MissingDependencyError, match="non-commercial.*pad weights fetch superpoint"):
        read_networks(method.networks, tmp_path)


def test_a_map_of_other_features_is_refused() -> None:
    settings = LocalizationSettings(features="aliked-n16")
    with pytest.raises(ModelError, match="'sift'.*'aliked-n16'"):
        Localizer(cube_map(), GROUND, settings)
    with pytest.raises(ModelError, match="retrieval by netvlad"):
        Localizer(cube_map(), GROUND, LocalizationSettings(retrieval="netvlad"))
    check_map(replace(cube_map(), features="aliked-n16"), replace(settings, features="aliked"))
    assert create_features("sift", {}).name == "sift"


def assert_localizes(settings: LocalizationSettings, networks: tuple[Network, ...], views: int = 24) -> None:
    # LighterGlue would take minutes for the map.
    sfm_map, _ = build_map(cube_views(views), GROUND, replace(settings, matcher="nearest"), networks)
    assert sfm_map.features == settings.features
    assert len(sfm_map.points) > 200
    localizer = Localizer(sfm_map, GROUND, settings, networks)
    for reference in ring_poses(40, 3.8)[1:22:10]:
        pose = Pose.look_at(reference.centre, np.array([0.05, 0, 0]), np.array([0, 0, 1.0]), roll=0.1)
        found = localizer.localize(PreparedQuery(draw(pose), CAMERA, GROUND))
        assert found.pose is not None, found.reason_text
        assert np.degrees(rotation_angle(found.pose, pose)) < 0.5
        assert translation_error(found.pose, pose) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "names"),
    [(LocalizationSettings(features="xfeat"), ["xfeat"]),
     (LocalizationSettings(features="xfeat", matcher="lighterglue", matched_views=2), ["xfeat", "lighterglue"])],
)  # fmt: skip
def test_poses_with_xfeat(shared: Path, settings: LocalizationSettings, names: list[str]) -> None:
    assert_localizes(settings, tuple(shared_network(shared, name) for name in names))


@pytest.mark.slow
def test_poses_with_aliked(shared: Path, weights_folder: Callable[[str], Path]) -> None:
    settings = LocalizationSettings(features="aliked-t16")
    assert_localizes(settings, read_networks(needed_networks(settings), weights_folder("aliked-t16")))


@pytest.mark.slow
def test_poses_with_netvlad_for_retrieval() -> None:
    """Random weights describe a view well enough to find its like."""
    network = Network("netvlad", "safetensors", save(netvlad_state(whitened=64)), "", "", "")
    settings = LocalizationSettings(retrieval="netvlad", retrieve_above=0, retrieved_views=12)
    assert_localizes(settings, (network,))
