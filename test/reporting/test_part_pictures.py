"""What a model takes for the part, for people to look at."""

from dataclasses import replace

import numpy as np
import pytest
from model_factory import make_model

from pad_ros.imaging import images
from pad_ros.rendering.photographs import Photograph
from pad_ros.reporting.part_pictures import part_pictures, region_text, write_part_pictures
from pad_ros.reporting.reports import model_summary

REGION = {"region": "sphere:0,0,0,1.2", "above_plane": [0.0, 0.0, 1.0, -0.5]}


@pytest.fixture(scope="module")
def model():
    """A model that was taught in a scene, with ten photographs."""
    made = make_model()
    pose, camera = made.sfm_map.poses[0], made.camera.pinhole()
    shape = (camera.height, camera.width)
    taken = [
        Photograph(f"<{i}>.png", np.full((*shape, 3), 200, np.uint8), np.ones(shape, np.float16), camera, pose)
        for i in range(10)
    ]
    return replace(made, photographs=tuple(taken), training={**made.training, **REGION})


def test_what_is_not_compared_is_dark(model):
    pictures = list(part_pictures(model, 5))
    assert [name for name, _ in pictures] == [f"<{i}>.png" for i in (0, 2, 4, 6, 8)]
    picture = pictures[0][1]
    assert tuple(picture[0, 0]) == (90, 90, 90) and (picture == 200).all(axis=2).any()


def test_pictures_and_a_page_are_written(model, tmp_path):
    write_part_pictures(model, tmp_path / "new" / "folder")
    assert len(list((tmp_path / "new" / "folder").glob("part_*.png"))) == 5
    page = (tmp_path / "new" / "folder" / "index.html").read_text()
    assert "sphere:0,0,0,1.2, above the plane 0 x + 0 y + 1 z = -0.5" in page and "&lt;0&gt;.png" in page
    assert images.load(tmp_path / "new" / "folder" / "part_0.png").shape == model.photographs[0].image.shape


def test_the_summary_names_the_region(model):
    assert "part        sphere:0,0,0,1.2, above the plane" in "\n".join(model_summary(model))


@pytest.mark.parametrize(
    "training, text",
    [({}, ""), ({"region": 3}, ""), ({"region": "box", "above_plane": None}, "box"),
     ({"region": "box", "above_plane": ["a", 1, 2, 3]}, "box")],
)  # fmt: skip
def test_what_a_manifest_may_say(model, training, text):
    assert region_text(replace(model, training=training)) == text
