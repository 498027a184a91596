"""Odd and even rows from two moments are noticed, and nothing else is taken for it."""

import cv2
import numpy as np
import pytest

from pad_ros.imaging.interlacing import field_shift

EVERYWHERE = np.ones((160, 200), bool)


def scene(seed=0, blur=1.0):
    """Edges in all directions, as sharp as a lens makes them."""
    random = np.random.default_rng(seed)
    image = np.full((160, 200, 3), 120, np.uint8)
    for x, y, width, height, *colour in random.integers(0, 160, (40, 7)):
        cv2.rectangle(image, (int(x), int(y)), (int(x + width // 3), int(y + height // 3)), list(map(int, colour)), -1)
    return cv2.GaussianBlur(image, (0, 0), blur)


def interlaced(image, by):
    out = image.copy()
    out[::2] = np.roll(image, by, axis=1)[::2]
    return out


@pytest.mark.parametrize("by", [1, 2, 3, 6, -3])
def test_fields_beside_each_other(by):
    assert field_shift(interlaced(scene(), by), EVERYWHERE) > 0.5


def test_half_a_pixel_is_measured_right():
    image = scene()
    warp = np.array([[1, 0, 0.5], [0, 1, 0]], np.float32)
    image[::2] = cv2.warpAffine(image, warp, (200, 160), borderMode=cv2.BORDER_REPLICATE)[::2]
    assert field_shift(image, EVERYWHERE) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("change", [
    lambda image: image,
    lambda image: cv2.blur(image, (5, 1)),
    lambda image: (image + np.random.default_rng(0).normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8),
    lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 1),
    lambda image: np.roll(image, 1, axis=0),
])  # fmt: skip
def test_whole_frames_have_none(change):
    assert all(field_shift(change(scene(seed)), EVERYWHERE) < 0.05 for seed in range(8))


def test_only_the_part_counts():
    image, mask = scene(), EVERYWHERE.copy()
    image[80:] = interlaced(image, 3)[80:]
    mask[78:] = False
    assert field_shift(image, mask) < 0.05 and field_shift(image, ~mask) > 0.5


def test_a_plain_surface_has_none():
    assert field_shift(np.full((160, 200, 3), 90, np.uint8), EVERYWHERE) == 0
