"""What is known of the place: images of it without a part, and where in it to look."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pad_ros.errors import InputError
from pad_ros.imaging import images
from pad_ros.imaging.scene import Scene, parse_region

VIEW = np.full((40, 48, 3), 90, np.uint8)


@given(st.tuples(*[st.integers(0, 9999)] * 4))
def test_a_region_reads_as_it_is_written(corners):
    x0, y0, x1, y1 = corners
    text = f"{x0},{y0},{x1},{y1}"
    if x0 < x1 and y0 < y1:
        assert parse_region(text) == corners
    else:
        with pytest.raises(InputError, match="expected X0,Y0,X1,Y1"):
            parse_region(text)


@given(st.text(max_size=20))
def test_no_text_breaks_the_reading_of_a_region(text):
    try:
        x0, y0, x1, y1 = parse_region(text)
    except InputError:
        return
    assert 0 <= x0 < x1 and 0 <= y0 < y1


def test_files_and_folders_of_the_empty_scene(tmp_path):
    images.save(tmp_path / "belt" / "1.png", VIEW)
    images.save(tmp_path / "belt" / "2.png", VIEW)
    images.save(tmp_path / "cell.png", VIEW)
    scene = Scene.read([tmp_path / "cell.png", tmp_path / "belt"], (1, 2, 30, 40))
    assert len(scene.empty) == 3 and scene.roi == (1, 2, 30, 40)
    with pytest.raises(InputError, match="no such file"):
        Scene.read([tmp_path / "nothing.png"])


def test_an_empty_scene_of_another_camera_is_refused():
    scene = Scene((VIEW,))
    scene.check(VIEW)
    with pytest.raises(InputError, match="48x40 pixels, the image has 40x48"):
        scene.check(np.zeros((48, 40, 3), np.uint8))
    Scene().check(np.zeros((48, 40, 3), np.uint8))
