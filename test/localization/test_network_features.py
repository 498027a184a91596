"""ALIKED, XFeat and SuperPoint: random weights for the layouts, the shared real ones for quality."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from network_states import aliked_state, network_of, shared_network, shared_state, superpoint_state
from textured_cube import CAMERA, draw, ring_poses
from torch import Tensor

from pad_ros.errors import ModelError
from pad_ros.localization.aliked import Aliked, AlikedFeatures
from pad_ros.localization.detection import local_maxima, soft_argmax
from pad_ros.localization.features import Features, LocalFeatures
from pad_ros.localization.matching import NearestNeighbours
from pad_ros.localization.superpoint import SuperPointFeatures
from pad_ros.localization.xfeat import XFeatFeatures, keypoint_probabilities
from pad_ros.training.view_matching import epipolar_error


def small_aliked() -> AlikedFeatures:
    return AlikedFeatures(network_of(aliked_state(), "aliked"), threshold=0.0)


def small_superpoint() -> SuperPointFeatures:
    return SuperPointFeatures(network_of(superpoint_state()), limit=100)


def real(shared: Path, name: str) -> LocalFeatures:
    if name == "xfeat":
        return XFeatFeatures(shared_network(shared, name))
    return AlikedFeatures(network_of(shared_state(shared, name), name))


def check(found: Features, channels: int, shape: tuple[int, ...]) -> None:
    assert found.descriptors.shape == (len(found), channels)
    assert found.descriptors.dtype == np.float32
    assert found.scores.shape == (len(found),)
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=1e-4)
    assert np.all((found.keypoints >= 0) & (found.keypoints <= [shape[1], shape[0]]))


@pytest.mark.parametrize(("make", "channels"), [(small_aliked, 16), (small_superpoint, 256)])
def test_random_weights_give_features_of_the_right_form(make: Callable[[], LocalFeatures], channels: int) -> None:
    image = draw(ring_poses(8)[0])[:100, 20:157]
    first, second = make().extract(image), make().extract(image)
    assert len(first) > 20
    check(first, channels, image.shape)
    for one, other in ((first.keypoints, second.keypoints), (first.descriptors, second.descriptors)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("make", [small_aliked, small_superpoint])
@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (16, 16), (33, 40)])
def test_small_and_plain_images(make: Callable[[], LocalFeatures], shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 90, np.uint8)
    found = make().extract(image)
    assert found.keypoints.shape == (len(found), 2)
    assert np.all(np.isfinite(found.descriptors))


@pytest.mark.parametrize(
    ("network", "state"), [(AlikedFeatures, aliked_state()), (SuperPointFeatures, superpoint_state())]
)
@pytest.mark.parametrize("change", ["missing", "surplus", "odd", "empty"])
def test_other_weights_are_refused(network: type, state: dict[str, Tensor], change: str) -> None:
    state = dict(state)
    name = sorted(state)[3]
    if change == "missing":
        del state[name]
    elif change == "surplus":
        state["more.weight"] = torch.zeros(1)
    elif change == "odd":
        state[name] = torch.zeros(2, 2, 2)
    else:
        state = {}
    with pytest.raises(ModelError, match="not the weights of (ALIKED|SuperPoint)"):
        network(network_of(state))


def test_the_score_map_is_that_of_the_whole_feature_map() -> None:
    state = aliked_state()
    network = Aliked(state)
    levels = network.levels(torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)))
    up = [F.interpolate(level, size=(64, 96), mode="bilinear", align_corners=True) for level in levels]
    x = torch.cat(up, dim=1)
    for layer in (0, 2, 4, 6):
        x = F.conv2d(F.selu(x) if layer else x, state[f"score_head.{layer}.weight"], padding=min(layer, 1))
    torch.testing.assert_close(network.score_map(levels), torch.sigmoid(x)[0, 0], atol=1e-5, rtol=1e-4)


def test_batch_normalisation_is_folded() -> None:
    state = aliked_state()
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    x = image
    for part in (1, 2):
        norm = [state[f"block1.bn{part}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        x = F.selu(F.batch_norm(F.conv2d(x, state[f"block1.conv{part}.weight"], padding=1), *norm))
    expected = F.selu(F.conv2d(x, state["conv1.weight"]))
    torch.testing.assert_close(Aliked(state).levels(image)[0], expected, atol=1e-4, rtol=1e-3)


def test_keypoint_probabilities() -> None:
    logits = np.full((65, 2, 3), -9.0, np.float32)
    logits[8 * 3 + 5, 1, 2] = 9  # row 3, column 5 of the cell in row 1, column 2
    logits[64, 0, 0] = 9
    heat = keypoint_probabilities(logits)
    assert heat.shape == (16, 24)
    assert np.unravel_index(heat.argmax(), heat.shape) == (8 + 3, 16 + 5)
    assert heat.max() == pytest.approx(1, abs=1e-4)
    assert heat[:8, :8].max() < 1e-6
    assert heat[:8, 8:16].sum() == pytest.approx(64 / 65, rel=1e-4)


def test_local_maxima_are_the_best_and_apart() -> None:
    scores = np.zeros((40, 50), np.float32)
    peaks = {(10, 12): 0.9, (10, 14): 0.8, (11, 20): 0.7, (1, 30): 1.0, (30, 30): 0.1}
    for place, value in peaks.items():
        scores[place] = value
    rows, columns = local_maxima(scores, 2, 0.2, 10)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(10, 12), (11, 20)]
    rows, columns = local_maxima(scores, 1, 0.05, 3)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(1, 30), (10, 12), (10, 14)]


@settings(max_examples=30, deadline=None)
@given(st.floats(20, 30), st.floats(20, 30))
def test_soft_argmax_finds_the_middle(x: float, y: float) -> None:
    grid = np.arange(50)
    scores = np.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / 2).astype(np.float32)
    row, column = np.unravel_index(scores.argmax(), scores.shape)
    found = soft_argmax(scores, np.array([row]), np.array([column]), 2, 0.2)
    assert np.abs(found[0] - [x, y]).max() < 0.25
    assert soft_argmax(scores, np.zeros(0, int), np.zeros(0, int), 2, 0.2).shape == (0, 2)


@pytest.mark.parametrize("name", ["aliked-t16", "aliked-n16", "aliked-n16rot", "aliked-n32", "xfeat"])
def test_real_weights_match_two_views(shared: Path, name: str) -> None:
    features = real(shared, name)
    first, second = ring_poses(36)[:2]
    large = CAMERA.resized(480, 480)
    a, b = (features.extract(draw(pose, large)) for pose in (first, second))
    check(a, 64 if name in ("aliked-t16", "xfeat") else 128, (480, 480))
    pairs = NearestNeighbours(1.0).match(a, b)
    error = epipolar_error(a.keypoints[pairs[:, 0]], b.keypoints[pairs[:, 1]], large, large, second @ first.inverse())
    assert np.sum(error < 2) > 60
    assert np.mean(error < 2) > 0.6
    right, wrong = (np.einsum("ij,ij->i", a.descriptors[p[:, 0]], b.descriptors[p[:, 1]])
                    for p in (pairs[error < 2], pairs[error > 20]))  # fmt: skip
    assert np.median(right) > features.similarity
    assert len(wrong) == 0 or np.median(wrong) < np.median(right)


@pytest.mark.parametrize(("name", "shift"), [("aliked-t16", (3, 5)), ("aliked-n16", (3, 5)), ("xfeat", (16, 8))])
def test_keypoints_move_with_the_image(shared: Path, name: str, shift: tuple[int, int]) -> None:
    """Whatever the padding to the network's size does. XFeat's keypoints depend on its grid of 8 px."""
    features, image = real(shared, name), draw(ring_poses(8)[0])
    whole = features.extract(image).keypoints
    part = features.extract(np.ascontiguousarray(image[shift[1] :, shift[0] :])).keypoints + shift
    distance = np.linalg.norm(whole[:, None] - part[None], axis=2)
    assert np.mean(distance.min(axis=1) < 0.5) > 0.8
    offset = (whole - part[distance.argmin(axis=1)])[distance.min(axis=1) < 0.5]
    assert np.abs(np.median(offset, axis=0)).max() < 0.05


def test_xfeat_shrinks_large_images(shared: Path) -> None:
    features = real(shared, "xfeat")
    image = draw(ring_poses(8)[0], CAMERA.resized(1280, 1280))
    large, small = (
        features.extract(image),
        features.extract(cv2.resize(image, (640, 640), interpolation=cv2.INTER_AREA)),
    )
    np.testing.assert_allclose(large.keypoints, 2 * small.keypoints)


def test_another_network_is_not_xfeat(shared: Path) -> None:
    with pytest.raises(ModelError, match="XFeat"):
        XFeatFeatures(shared_network(shared, "lighterglue"))
