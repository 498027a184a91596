"""What the settings `localization.features`, `.matcher` and `.retrieval` can name, and the networks these need.

What runs on torch is imported where it is chosen: loading torch takes longer than loading a model.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InputError
from ..networks.network import Network
from .features import LocalFeatures, SiftFeatures
from .matching import FeatureMatcher, Floats
from .retrieval import Retrieval, Vlad

FEATURES = ("sift", "aliked", "aliked-t16", "aliked-n16", "aliked-n16rot", "aliked-n32", "xfeat", "superpoint")
MATCHERS = ("nearest", "lighterglue", "lightglue")
RETRIEVALS = ("vlad", "netvlad")

ALIKED_OF_CHOICE = "aliked-n16"  # what plain "aliked" means
LIGHTGLUE = {"superpoint": "lightglue-superpoint", "aliked-n16": "lightglue-aliked"}  # features that it was trained for


def needed_networks(features: str, matcher: str, retrieval: str) -> tuple[str, ...]:
    """Names, in `pad_ros.weights`, of the networks that these run; InputError where they do not go together."""
    for setting, name, known in (("features", features, FEATURES), ("matcher", matcher, MATCHERS),
                                 ("retrieval", retrieval, RETRIEVALS)):  # fmt: skip
        if name not in known:
            raise InputError(f"localization.{setting}: expected one of {', '.join(known)}, got {str(name)[:80]!r}")
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


def create_features(name: str, networks: Mapping[str, Network], device: str = "cpu") -> LocalFeatures:
    """The local features called `name`; those of a network run on `device`."""
    name = _full(name)
    if name == "sift":
        return SiftFeatures()
    if name == "xfeat":
        from .xfeat import XFeatFeatures

        return XFeatFeatures(networks[name], device=device)
    if name == "superpoint":
        from .superpoint import SuperPointFeatures

        return SuperPointFeatures(networks[name].tensors(device))
    from .aliked import AlikedFeatures

    return AlikedFeatures(name, networks[name].tensors(device))


def create_matcher(
    name: str, features: str, networks: Mapping[str, Network], device: str = "cpu"
) -> FeatureMatcher | None:
    """The network that matches two images; None for nearest neighbours, whose strictness depends on the place."""
    if name == "lighterglue":
        from .network_matching import LighterGlue

        return LighterGlue(networks["lighterglue"], device)
    if name == "lightglue":
        from .network_matching import LightGlue

        return LightGlue(networks[LIGHTGLUE[_full(features)]], device)
    return None


def create_retrieval(name: str, networks: Mapping[str, Network], vocabulary: Floats, device: str = "cpu") -> Retrieval:
    """What tells which views look alike; `vocabulary` is for VLAD."""
    if name == "netvlad":
        from .netvlad import NetVlad

        return NetVlad(networks["netvlad"].tensors(device))
    return Vlad(vocabulary)


def same_features(first: str, second: str) -> bool:
    """Whether two names mean the same features."""
    return _full(first) == _full(second)


def _full(features: str) -> str:
    return ALIKED_OF_CHOICE if features == "aliked" else features
