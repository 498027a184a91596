"""Before another ground, light that it does not throw onto the part is forgiven at a cost; what is no light is not."""

from types import SimpleNamespace

import numpy as np
import pytest

from pad_ros.comparison.colour import residuals
from pad_ros.comparison.other_ground import COST, COST_OF_ALIKE, forgive_ground_light
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.rendering.result import ReferenceRendering

SIZE = 80
FACE, INNER, SPOT = np.s_[20:60, 15:65], np.s_[26:54, 21:59], np.s_[36:41, 36:41]
DARKER = np.array([-1, -1, -1], np.float32)


def plate(face=(0.7, 0.55, 0.3), alpha=1.0):
    """A grey plate with a face on it."""
    rgb = np.full((SIZE, SIZE, 3), 0.6, np.float32)
    rgb[FACE] = face
    ones = np.ones((SIZE, SIZE), np.float32)
    features, camera = np.zeros((SIZE, SIZE, 0), np.float32), Camera.from_fov(SIZE, SIZE, 0.5)
    return ReferenceRendering(rgb, alpha * ones, 3 * ones, features, camera, Pose.identity())


def kept(query, references, look, change=DARKER):
    """The share of the residual that stays in `look`."""
    image = (query.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    residual = residuals(image, references[0], 1)
    before = residual[look].mean()
    lit = SimpleNamespace(
        ground_change=change, values=image / np.float32(255), rendering=references[0], shading=None
    )  # fmt: skip
    forgive_ground_light(residual, lit, references, 1)
    assert np.isfinite(residual).all()
    return float(residual[look].mean() / before)


def darker(where, share):
    query = plate().rgb.copy()
    query[where] *= np.sqrt(1 - share)
    return query


def test_a_face_that_lacks_light_as_a_whole_costs_little():
    assert COST_OF_ALIKE / 2 < kept(darker(FACE, 0.4), [plate()], INNER) < 0.25


def test_a_dark_spot_costs_more():
    left = kept(darker(SPOT, 0.6), [plate()], SPOT)
    assert 0.9 * COST < left < 0.75
    assert left > 2 * kept(darker(FACE, 0.6), [plate()], INNER)


@pytest.mark.parametrize("spot", [(0.95, 0.8, 0.6), (0.3, 0.5, 0.7)], ids=["brighter", "another hue"])
def test_what_is_no_missing_light_stays(spot):
    query = plate().rgb.copy()
    query[SPOT] = spot
    assert kept(query, [plate()], SPOT) > 0.8


def test_before_a_ground_as_bright_as_the_trained_one_nothing_is_forgiven():
    assert kept(darker(FACE, 0.4), [plate()], INNER, None) == 1


def test_off_the_part_nothing_is_forgiven():
    assert kept(darker(FACE, 0.4), [plate(alpha=0.0)], INNER) == 1


def test_a_reference_that_was_shaded_too_dark_counts_as_it_was_taught_at_a_cost():
    shaded = plate(face=(0.35, 0.28, 0.15))
    assert kept(plate().rgb, [shaded], INNER) == 1
    assert 0.9 * COST < kept(plate().rgb, [shaded, plate()], INNER) < 1.2 * COST


@pytest.mark.parametrize("side", [6, 16, 24])
def test_a_dark_piece_of_a_colour_of_its_own_is_not_taken_for_unlit(side):
    """No other place is like it, so nothing outvotes it."""
    piece, reference = np.s_[36 : 36 + side, 36 : 36 + side], plate()
    reference.rgb[piece] = (0.8, 0.2, 0.15)
    query = reference.rgb.copy()
    query[piece] *= np.sqrt(0.15)
    assert kept(query, [reference], piece) > 0.3
