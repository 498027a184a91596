"""What the settings `localization.features`, `.matcher` and `.retrieval` can name, and the networks these need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ..errors import InputError
from ..networks import Network
from .aliked import AlikedFeatures
from .features import LocalFeatures, SiftFeatures
from .matching import FeatureMatcher, Floats
from .netvlad import NetVlad
from .network_matching import LighterGlue, LightGlue
from .retrieval import Retrieval, Vlad
from .superpoint import SuperPointFeatures
from .xfeat import XFeatFeatures

FeatureName = Literal[
    "sift", "aliked", "aliked-t16", "aliked-n16", "aliked-n16rot", "aliked-n32", "xfeat", "superpoint"
]
MatcherName = Literal["nearest", "lighterglue", "lightglue"]
RetrievalName = Literal["vlad", "netvlad"]

ALIKED_OF_CHOICE = "aliked-n16"  # what plain "aliked" means
LIGHTGLUE = {"superpoint": "lightglue-superpoint", "aliked-n16": "lightglue-aliked"}  # features that it was trained for


def needed_networks(features: str, matcher: str, retrieval: str) -> tuple[str, ...]:
    """Names, in `pad_ros.weights`, of the networks that these run; InputError where they do not go together."""
    features = _full(features)
    names = [] if features == "sift" else [features]
    if matcher == "lighterglue":
        if features != "xfeat":
            raise InputError(f"localization.matcher=lighterglue matches features=xfeat only, not {features}")
        names.append("lighterglue")
    if matcher == "lightglue":
        if features not in LIGHTGLUE:
            raise InputError(f"localization.matcher=lightglue matches {', '.join(LIGHTGLUE)} only, not {features}")
        names.append(LIGHTGLUE[features])
    if retrieval == "netvlad":
        names.append("netvlad")
    return tuple(names)


def create_features(name: str, networks: Mapping[str, Network]) -> LocalFeatures:
    """The local features called `name`."""
    name = _full(name)
    if name == "sift":
        return SiftFeatures()
    if name == "xfeat":
        return XFeatFeatures(networks[name])
    if name == "superpoint":
        return SuperPointFeatures(networks[name].tensors())
    return AlikedFeatures(name, networks[name].tensors())


def create_matcher(name: str, features: str, networks: Mapping[str, Network]) -> FeatureMatcher | None:
    """The network that matches two images; None for nearest neighbours, whose strictness depends on the place."""
    if name == "lighterglue":
        return LighterGlue(networks["lighterglue"])
    if name == "lightglue":
        return LightGlue(networks[LIGHTGLUE[_full(features)]])
    return None


def create_retrieval(name: str, networks: Mapping[str, Network], vocabulary: Floats) -> Retrieval:
    """What tells which views look alike; `vocabulary` is for VLAD."""
    return NetVlad(networks["netvlad"].tensors()) if name == "netvlad" else Vlad(vocabulary)


def same_features(first: str, second: str) -> bool:
    """Whether two names mean the same features."""
    return _full(first) == _full(second)


def _full(features: str) -> str:
    return ALIKED_OF_CHOICE if features == "aliked" else features
