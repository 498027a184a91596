"""`pad train`: what it refuses, and how it divides the views. The training itself is tested end to end."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from splat_scenes import CAMERA, box, orbit, photographs_of

from pad_ros.errors import InputError, TrainingError
from pad_ros.imaging.background import Background
from pad_ros.imaging.views import ReferenceViews, View
from pad_ros.methods.presets import load_method
from pad_ros.training.fitting import split
from pad_ros.training.train import MIN_VIEWS, find_background, method_for_views, train

BLANK = np.full((128, 128, 3), 255, np.uint8)


def named(count):
    return tuple(View(f"{i}.png", BLANK, CAMERA) for i in range(count))


@given(st.integers(MIN_VIEWS, 200))
def test_every_view_is_either_fitted_or_held_out(count):
    views = named(count)
    fitted, held_out = split(views)
    assert sorted(v.name for v in (*fitted, *held_out)) == sorted(v.name for v in views)
    assert len(held_out) >= 2 and len(fitted) >= 0.7 * count
    positions = np.array([int(v.name[:-4]) for v in held_out])
    assert positions.min() <= count / 4 and positions.max() >= 0.5 * count  # all over the set


def views_of(images, posed=True):
    poses = orbit(len(images))
    views = (View(f"{i}.png", image, CAMERA, poses[i] if posed else None) for i, image in enumerate(images))
    return ReferenceViews(tuple(views), "test")


@pytest.mark.parametrize(
    ("count", "backbone", "compared"),
    [
        (80, "gradients", "gradients"),
        (20, "gradients", "none"),
        (20, "none", "none"),
        (20, "mobilenet_v2", "mobilenet_v2"),
    ],
)
def test_of_few_views_no_gradients_are_compared(count, backbone, compared, capsys):
    centres = np.array([pose.centre for pose in orbit(count)])
    method = load_method("pad", [f"scoring.backbone={backbone}"])
    found = method_for_views(method, centres / np.linalg.norm(centres, axis=1, keepdims=True))
    assert found == replace(method, scoring=replace(method.scoring, backbone=compared))
    assert ("gradients are not" in capsys.readouterr().err) == (backbone != compared)


def test_too_few_views_are_refused():
    with pytest.raises(TrainingError, match="7 views are too few, give at least 8"):
        train(views_of([BLANK] * 7), load_method("pad"), name="x", budget=10)


def test_an_unknown_device_is_refused():
    with pytest.raises(InputError, match="auto, cpu or cuda"):
        train(views_of([BLANK] * 9), load_method("pad"), name="x", budget=10, device="tpu")


def noise(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (128, 128, 3)).astype(np.uint8) for _ in range(count)]


@pytest.mark.parametrize("images, posed", [([BLANK] * 9, True), ([BLANK] * 9, False), (noise(9), False)])
def test_views_that_show_no_part_are_refused(images, posed):
    with pytest.raises(TrainingError) as error:
        train(views_of(images, posed), load_method("pad"), name="x", budget=10)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.slow
def test_what_cannot_be_rendered_gets_no_threshold(capsys):
    """Noise with poses: chance matches may give a map, but no model of it may ever let a part pass."""
    try:
        model = train(views_of(noise(9)), load_method("pad"), name="x", budget=2)
    except TrainingError:
        return
    assert model.calibration is None
    assert "every verdict will be HOLD" in capsys.readouterr().err


def test_the_background_is_what_the_reader_put_there_or_else_found():
    views = photographs_of(box(200), 3)
    put = Background((255.0, 255.0, 255.0), 10.0)
    assert find_background(ReferenceViews(views, "with masks", put)) is put
    grey = []
    for view in views:
        image = view.image.copy()
        image[~view.mask] = (80, 90, 100)
        grey.append(replace(view, image=image, mask=None))
    assert find_background(ReferenceViews(tuple(grey), "no masks")).colour == pytest.approx((80, 90, 100), abs=2)
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    assert find_background(views_of([noise] * 3)).colour is None
