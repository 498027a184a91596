from dataclasses import replace

import cv2
import numpy as np
import pytest
from point_views import ring
from textured_cube import cube_map, cube_views

from pad_ros.errors import TrainingError
from pad_ros.training.registration import Failure, check_landmarks, check_placed, failures_of, without_blurred


def test_blurred_views_are_left_out_with_a_line(capsys):
    views = replace(cube_views(8), exact=False)
    shaken = list(views.views)
    shaken[3] = replace(shaken[3], image=cv2.blur(shaken[3].image, (25, 1)))
    kept, failures = without_blurred(replace(views, views=tuple(shaken)))
    assert [failure.name for failure in failures] == [shaken[3].name]
    assert [view.name for view in kept.views] == [view.name for i, view in enumerate(views.views) if i != 3]
    assert "cube: 1 of 8 views are blurred and are left out: good/003.png" in capsys.readouterr().err


def test_sharp_views_stay(capsys):
    views = replace(cube_views(8), exact=False)
    assert [view.name for view in without_blurred(views)[0].views] == [view.name for view in views.views]
    assert capsys.readouterr().err == ""


def test_reasons():
    views, features = ring(7)
    few = features[1].take(np.arange(31))
    features = [features[0], few, *features[2:]]
    pairs = {(0, 3): np.zeros((200, 2), np.int64), (0, 4): np.zeros((20, 2), np.int64),
             (5, 6): np.zeros((40, 2), np.int64)}  # fmt: skip
    found = {failure.name: failure.why for failure in failures_of(views, features, pairs, {0})}
    assert found == {
        "01.jpg": "too few features: 31",
        "02.jpg": "no overlap with any other view, not even with 01.jpg",
        "03.jpg": "its 200 matches with 00.jpg do not fit the map",
        "04.jpg": "too little overlap: at most 20 matches, with 00.jpg",
        "05.jpg": "overlaps only with 06.jpg, which is not in the map either",
        "06.jpg": "overlaps only with 05.jpg, which is not in the map either",
    }


def test_too_few_placed():
    failures = [Failure(f"{i}.jpg", "blurred") for i in range(16)]
    with pytest.raises(TrainingError) as error:
        check_placed("photos", 20, 4, failures)
    text = str(error.value)
    assert text.startswith(
        "photos: only 4 of 20 views could be placed in one map, too few to go on. Not placed: 0.jpg ("
    )
    assert "7.jpg (blurred); and 8 more. What to do: take them sharp" in text
    assert "8.jpg" not in text


def test_most_placed(capsys):
    check_placed("photos", 20, 20, [])
    assert capsys.readouterr().err == ""
    check_placed("photos", 20, 17, [Failure("3.jpg", "blurred")] * 3)
    assert (
        "photos: 3 of 20 views could not be placed in the map and are left out: 3.jpg (blurred)"
        in capsys.readouterr().err
    )


def test_a_map_of_too_few_landmarks():
    found = cube_map()
    check_landmarks(found, "photos", 20)
    with pytest.raises(
        TrainingError, match="photos: the map is too weak to localize in: 24 of 24 views see fewer than"
    ):
        check_landmarks(found, "photos", 100_000)
