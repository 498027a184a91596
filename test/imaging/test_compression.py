"""JPEG shows in an image that has its blocks; nothing else is taken for it."""

import cv2
import numpy as np
import pytest

from pad_ros.imaging.compression import compression

EVERYWHERE = np.ones((240, 320), bool)


def scene(seed=0, noise=2.0):
    """Patches of many colours with a lens's blur and a camera's noise."""
    random = np.random.default_rng(seed)
    image = np.full((240, 320, 3), 120, np.uint8)
    for x, y, width, height, *colour in random.integers(0, 240, (40, 7)):
        cv2.rectangle(image, (int(x), int(y)), (int(x + width // 3), int(y + height // 3)), list(map(int, colour)), -1)
    image = cv2.GaussianBlur(image, (0, 0), 0.8)
    return (image + random.normal(0, noise, image.shape)).clip(0, 255).astype(np.uint8)


def jpeg(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


@pytest.mark.parametrize("seed", range(4))
def test_the_more_is_compressed_the_more_is_measured(seed):
    image = scene(seed)
    found = [compression(one, EVERYWHERE) for one in (image, *(jpeg(image, quality) for quality in (95, 90, 80)))]
    assert abs(found[0]) < 0.1 and found == sorted(found)
    assert found[1] > found[0] + 0.1 and found[2] > 0.3 and found[3] > 0.5


@pytest.mark.parametrize("change", [
    lambda image: cv2.blur(image, (5, 1)),
    lambda image: np.roll(image, 8, axis=1),
    lambda image: cv2.resize(cv2.resize(jpeg(image, 80), (300, 225)), (320, 240)),
    lambda image: cv2.warpAffine(jpeg(image, 80), np.float32([[1, 0.02, 3], [-0.02, 1, 3]]), (320, 240)),
])  # fmt: skip
def test_images_without_blocks_at_their_corner(change):
    assert compression(change(scene(noise=0)), EVERYWHERE) < 0.3


def test_a_part_anywhere_in_the_image():
    image, mask = scene(), np.zeros_like(EVERYWHERE)
    mask[21:201, 93:287] = True
    assert abs(compression(image, mask)) < 0.1 and compression(jpeg(image, 90), mask) > 0.3


def test_surfaces_without_detail_have_nothing_to_lose():
    plain = np.full((240, 320, 3), 90, np.uint8)
    assert compression(plain, EVERYWHERE) == compression(jpeg(plain, 50), EVERYWHERE) == 0


@pytest.mark.parametrize("shown", [0, 4, 30])
def test_of_a_small_part_nothing_is_known(shown):
    mask = np.zeros_like(EVERYWHERE)
    mask[:shown, :shown] = True
    assert np.isnan(compression(scene(), mask))
