"""What the settings `localization.features`, `.matcher` and `.retrieval` can name: one table for each of them.

A new kind of local features takes a module with a class as `features.LocalFeatures` describes it, and an entry in
FEATURES. What runs on torch is imported where it is made: loading torch takes longer than loading a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from ..errors import InputError, ModelError
from ..networks.network import Network
from ..settings import LocalizationSettings
from .features import LocalFeatures, SiftFeatures
from .matching import FeatureMatcher, Floats
from .retrieval import Retrieval, Vlad
from .sfm_map import SfmMap


def _later(module: str, kind: str) -> Callable[[Network, str], Any]:
    """Makes `kind` of a module beside this one, which is not imported before."""
    return lambda network, device: getattr(import_module(f".{module}", __package__), kind)(network, device)


@dataclass(frozen=True)
class FeatureChoice:
    """Local features: create(network, device) makes them; `network` names it in `networks.registry`, "" for none."""

    create: Callable[[Any, str], LocalFeatures]
    network: str = ""


@dataclass(frozen=True)
class MatcherChoice:
    """A matcher: create(network, device) makes it; `networks`: network of the features -> its own, trained for them."""

    create: Callable[[Any, str], FeatureMatcher] | None = None  # None: nearest neighbours, for any features
    networks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RetrievalChoice:
    """Retrieval: create(network, device), or where that is None visual words learned from the map's own descriptors."""

    create: Callable[[Any, str], Retrieval] | None = None
    network: str = ""


_ALIKED = _later("aliked", "AlikedFeatures")

FEATURES: dict[str, FeatureChoice] = {
    "sift": FeatureChoice(lambda network, device: SiftFeatures()),
    "aliked": FeatureChoice(_ALIKED, "aliked-n16"),  # another name of it
    "aliked-t16": FeatureChoice(_ALIKED, "aliked-t16"),
    "aliked-n16": FeatureChoice(_ALIKED, "aliked-n16"),
    "aliked-n16rot": FeatureChoice(_ALIKED, "aliked-n16rot"),
    "aliked-n32": FeatureChoice(_ALIKED, "aliked-n32"),
    "xfeat": FeatureChoice(_later("xfeat", "XFeatFeatures"), "xfeat"),
    "superpoint": FeatureChoice(_later("superpoint", "SuperPointFeatures"), "superpoint"),
}
MATCHERS: dict[str, MatcherChoice] = {
    "nearest": MatcherChoice(),
    "lighterglue": MatcherChoice(_later("network_matching", "LighterGlue"), {"xfeat": "lighterglue"}),
    "lightglue": MatcherChoice(
        _later("network_matching", "LightGlue"),
        {"superpoint": "lightglue-superpoint", "aliked-n16": "lightglue-aliked", "xfeat": "lightglue-xfeat"},
    ),
}
RETRIEVALS: dict[str, RetrievalChoice] = {
    "vlad": RetrievalChoice(),
    "netvlad": RetrievalChoice(_later("netvlad", "NetVlad"), "netvlad"),
    "efficientnet_b4": RetrievalChoice(_later("backbone_retrieval", "BackboneRetrieval"), "efficientnet-b4"),
    "efficientnet_lite0": RetrievalChoice(_later("backbone_retrieval", "BackboneRetrieval"), "efficientnet-lite0"),
    "mobilenet_v2": RetrievalChoice(_later("backbone_retrieval", "BackboneRetrieval"), "mobilenet-v2"),
}


def needed_networks(settings: LocalizationSettings) -> tuple[str, ...]:
    """Names, in `networks.registry`, of the networks that localization runs; InputError for names that are unknown or
    do not go together."""
    features, matcher, retrieval = settings.features, settings.matcher, settings.retrieval
    for setting, name, known in (
        ("features", features, tuple(FEATURES)), ("matcher", matcher, tuple(MATCHERS)),
        ("retrieval", retrieval, tuple(RETRIEVALS)),
    ):  # fmt: skip
        if name not in known:
            raise InputError(f"localization.{setting}: expected one of {', '.join(known)}, got {str(name)[:80]!r}")
    names = FEATURES[features].network, _matcher_network(matcher, features), RETRIEVALS[retrieval].network
    return tuple(name for name in names if name)


def create_features(name: str, networks: Mapping[str, Network], device: str = "cpu") -> LocalFeatures:
    """The local features called `name`; those of a network run on `device`."""
    choice = FEATURES[name]
    return choice.create(networks[choice.network] if choice.network else None, device)


def create_matcher(
    name: str, features: str, networks: Mapping[str, Network], device: str = "cpu"
) -> FeatureMatcher | None:
    """The network that matches two images; None for nearest neighbours, whose strictness depends on the place."""
    create = MATCHERS[name].create
    return None if create is None else create(networks[_matcher_network(name, features)], device)


def create_retrieval(name: str, networks: Mapping[str, Network], vocabulary: Floats, device: str = "cpu") -> Retrieval:
    """What shows which views look alike; `vocabulary` is for retrieval that learns its words."""
    choice = RETRIEVALS[name]
    return Vlad(vocabulary) if choice.create is None else choice.create(networks[choice.network], device)


def same_features(first: str, second: str) -> bool:
    """Whether two names mean the same features."""
    return first == second or FEATURES.get(first) == FEATURES[second]


def _matcher_network(matcher: str, features: str) -> str:
    choice, network = MATCHERS[matcher], FEATURES[features].network
    if choice.create is None:
        return ""
    if network not in choice.networks:
        raise InputError(f"localization.matcher={matcher} matches features={', '.join(choice.networks)} only, "
                         f"not {network or features}")  # fmt: skip
    return choice.networks[network]


def check_map(sfm_map: SfmMap, settings: LocalizationSettings) -> None:
    """ModelError where the map was made with other features or another retrieval than the settings name."""
    if not same_features(sfm_map.features, settings.features):
        raise ModelError(
            f"the map was made with the features {sfm_map.features!r}, the settings say {settings.features!r}: "
            "train the model anew"
        )
    if (settings.retrieval == "vlad") != (sfm_map.vocabulary.size > 0):
        raise ModelError(f"the map was not made for retrieval by {settings.retrieval}: train the model anew")
