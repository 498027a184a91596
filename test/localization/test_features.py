import cv2
import numpy as np
import pytest
from textured_cube import draw, ring_poses

from pad_ros.imaging.rect import Rect
from pad_ros.localization.features import SiftFeatures, extract_window, inside_mask


def blob(x: float, y: float, size: int = 96) -> np.ndarray:
    """A bright spot centred at pixel (x, y), pixel centres at +0.5."""
    grid = np.arange(size) + 0.5
    spot = np.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * 3.0**2))
    return np.repeat((40 + 180 * spot)[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_keypoints_have_pixel_centres_at_half(scale: float) -> None:
    generator = np.random.default_rng(0)
    offsets = []
    for _ in range(20):
        x, y = generator.uniform(40, 56, 2)
        found = extract_window(SiftFeatures(), blob(x, y), Rect(8, 4, 92, 90), 10**9, scale)
        offsets.append(found.keypoints[found.scores.argmax()] - (x, y))
        assert found.scale == pytest.approx(scale, rel=0.01)
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.05


def test_window_work_is_bounded() -> None:
    image = draw(ring_poses(8)[0])
    found = extract_window(SiftFeatures(limit=200), image, Rect(0, 0, 320, 320), 160 * 160, 2.0)
    assert found.scale == pytest.approx(0.5)
    assert len(found) <= 201  # OpenCV keeps ties
    assert found.keypoints.max() > 200  # in pixels of the whole image


def test_descriptors_are_compact_and_repeatable() -> None:
    image = draw(ring_poses(8)[0])
    first, second = SiftFeatures().extract(image), SiftFeatures().extract(image)
    assert first.descriptors.dtype == np.uint8
    assert first.descriptors.shape == (len(first), 128)
    np.testing.assert_array_equal(first.descriptors, second.descriptors)
    lengths = np.linalg.norm(first.descriptors.astype(float), axis=1)
    assert 450 < lengths.min() <= lengths.max() < 520


def test_an_image_without_features() -> None:
    found = SiftFeatures().extract(np.full((64, 64, 3), 90, np.uint8))
    assert len(found) == 0
    assert found.descriptors.shape == (0, 128)


def test_inside_mask_grows_by_the_margin() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    points = np.array([[15.5, 15.5], [21.5, 15.5], [23.5, 15.5], [40.0, 40.0]])
    assert inside_mask(points, mask, 2).tolist() == [True, True, False, False]


def test_rotated_images_match_themselves() -> None:
    image = draw(ring_poses(8)[0])
    turned = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
    a, b = SiftFeatures().extract(image), SiftFeatures().extract(turned)
    expected = np.stack([320 - a.keypoints[:, 1], a.keypoints[:, 0]], axis=1)
    distance = np.linalg.norm(expected[:, None] - b.keypoints[None], axis=2).min(axis=1)
    assert np.mean(distance < 0.5) > 0.9
