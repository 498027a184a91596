"""What the settings `localization.features`, `.matcher` and `.retrieval` can name: one table for each of them.

A new kind of local features takes a module with a class as `features.LocalFeatures` describes it, and an entry in
FEATURES. What runs on torch is imported where it is made: loading torch takes longer than loading a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from ..networks.network import Network
from ..settings import LocalizationSettings
from .features import LocalFeatures, SiftFeatures
from .matching import FeatureMatcher, Floats
from .retrieval import Retrieval, Vlad


def _aliked(network: Network, device: str) -> LocalFeatures:
    from .aliked import AlikedFeatures

    return AlikedFeatures(network.name, network.tensors(device))


def _xfeat(network: Network, device: str) -> LocalFeatures:
    from .xfeat import XFeatFeatures

    return XFeatFeatures(network, device=device)


def _superpoint(network: Network, device: str) -> LocalFeatures:
    from .superpoint import SuperPointFeatures

    return SuperPointFeatures(network.tensors(device))


def _lighterglue(network: Network, device: str) -> FeatureMatcher:
    from .network_matching import LighterGlue

    return LighterGlue(network, device)


def _lightglue(network: Network, device: str) -> FeatureMatcher:
    from .network_matching import LightGlue

    return LightGlue(network, device)


def _netvlad(network: Network, device: str) -> Retrieval:
    from .netvlad import NetVlad

    return NetVlad(network.tensors(device))


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
    """Retrieval: create(network, vocabulary, device); `learns`: visual words of the map's own descriptors."""

    create: Callable[[Any, Floats, str], Retrieval]
    network: str = ""
    learns: bool = False


FEATURES: dict[str, FeatureChoice] = {
    "sift": FeatureChoice(lambda network, device: SiftFeatures()),
    "aliked": FeatureChoice(_aliked, "aliked-n16"),  # another name of it
    "aliked-t16": FeatureChoice(_aliked, "aliked-t16"),
    "aliked-n16": FeatureChoice(_aliked, "aliked-n16"),
    "aliked-n16rot": FeatureChoice(_aliked, "aliked-n16rot"),
    "aliked-n32": FeatureChoice(_aliked, "aliked-n32"),
    "xfeat": FeatureChoice(_xfeat, "xfeat"),
    "superpoint": FeatureChoice(_superpoint, "superpoint"),
}
MATCHERS: dict[str, MatcherChoice] = {
    "nearest": MatcherChoice(),
    "lighterglue": MatcherChoice(_lighterglue, {"xfeat": "lighterglue"}),
    "lightglue": MatcherChoice(_lightglue, {"superpoint": "lightglue-superpoint", "aliked-n16": "lightglue-aliked"}),
}
RETRIEVALS: dict[str, RetrievalChoice] = {
    "vlad": RetrievalChoice(lambda network, vocabulary, device: Vlad(vocabulary), learns=True),
    "netvlad": RetrievalChoice(lambda network, vocabulary, device: _netvlad(network, device), "netvlad"),
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
    return choice.create(networks[choice.network] if choice.network else None, vocabulary, device)


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
