"""COLMAP sparse models, text and binary: all camera models, damaged files."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from view_files import HEIGHT, WIDTH, picture, poses

from pad_ros.errors import InputError, PadError
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera, undistort_image
from pad_ros.io.colmap import find_colmap
from pad_ros.io.read_views import read_views

PARAMETERS = {
    "SIMPLE_PINHOLE": [60, 24, 20],
    "PINHOLE": [60, 61, 24, 20],
    "SIMPLE_RADIAL": [60, 24, 20, 0.05],
    "RADIAL": [60, 24, 20, 0.05, -0.01],
    "OPENCV": [60, 61, 24, 20, 0.05, -0.01, 0.001, -0.002],
}
EXPECTED = {
    "SIMPLE_PINHOLE": Camera(WIDTH, HEIGHT, 60, 60, 24, 20),
    "PINHOLE": Camera(WIDTH, HEIGHT, 60, 61, 24, 20),
    "SIMPLE_RADIAL": Camera(WIDTH, HEIGHT, 60, 60, 24, 20, (0.05, 0, 0, 0)),
    "RADIAL": Camera(WIDTH, HEIGHT, 60, 60, 24, 20, (0.05, -0.01, 0, 0)),
    "OPENCV": Camera(WIDTH, HEIGHT, 60, 61, 24, 20, (0.05, -0.01, 0.001, -0.002)),
}


def write_colmap(
    folder: Path, model: str = "PINHOLE", parameters: list[float] | None = None, sub: str = "sparse/0",
    text: bool = False, count: int = 3,
) -> Path:  # fmt: skip
    """A model as COLMAP itself writes it, with images/; the last of `count` views has no 2D points."""
    reconstruction = pycolmap.Reconstruction()
    camera = pycolmap.Camera(
        model=model, width=WIDTH, height=HEIGHT, params=parameters or PARAMETERS[model], camera_id=1
    )
    reconstruction.add_camera_with_trivial_rig(camera)
    for i, pose in enumerate(poses(count)):
        images.save(folder / f"images/ring/{i}.png", picture(i))
        keypoints = np.zeros((0 if i == count - 1 else 4, 2))
        image = pycolmap.Image(name=f"ring/{i}.png", keypoints=keypoints, camera_id=1, image_id=i + 1)
        reconstruction.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose.matrix[:3]))
    target = folder / sub
    target.mkdir(parents=True, exist_ok=True)
    if text:
        reconstruction.write_text(target)
    else:
        reconstruction.write_binary(target)
    return target


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("model", PARAMETERS)
def test_camera_models(tmp_path, model, text):
    write_colmap(tmp_path, model, text=text)
    views = read_views(tmp_path)
    assert [view.name for view in views.views] == ["ring/0.png", "ring/1.png", "ring/2.png"]
    assert views.posed
    for i, (view, pose) in enumerate(zip(views.views, poses(3), strict=True)):
        np.testing.assert_allclose(view.pose.matrix, pose.matrix, atol=1e-9)
        assert view.camera == EXPECTED[model].pinhole()
        np.testing.assert_array_equal(view.image, undistort_image(picture(i), EXPECTED[model]))


@pytest.mark.parametrize("sub", ["sparse/0", "sparse", "."])
@pytest.mark.parametrize("text", [False, True])
def test_where_the_model_may_lie(tmp_path, sub, text):
    model = write_colmap(tmp_path, sub=sub, text=text)
    assert find_colmap(tmp_path) == (model, ".txt" if text else ".bin")
    assert len(read_views(tmp_path)) == 3
    assert len(read_views(model)) == 3


def test_images_beside_the_model(tmp_path):
    write_colmap(tmp_path)
    shutil.move(tmp_path / "images/ring", tmp_path / "ring")
    assert len(read_views(tmp_path)) == 3


def test_points_are_not_needed(tmp_path):
    model = write_colmap(tmp_path)
    (model / "points3D.bin").unlink()
    assert len(read_views(tmp_path)) == 3


@pytest.mark.parametrize("text", [False, True])
def test_other_camera_models_are_named(tmp_path, text):
    write_colmap(tmp_path, "OPENCV_FISHEYE", [60, 60, 24, 20, 0, 0, 0, 0], text=text)
    with pytest.raises(InputError, match=r"cameras\.\w+: camera model OPENCV_FISHEYE is not supported; undistort"):
        read_views(tmp_path)


def test_missing_image(tmp_path):
    write_colmap(tmp_path)
    (tmp_path / "images/ring/1.png").unlink()
    with pytest.raises(InputError, match="image ring/1.png is not in .*images"):
        read_views(tmp_path)


def test_images_outside_of_the_data_set_are_not_read(tmp_path):
    write_colmap(tmp_path / "set")
    (tmp_path / "set/images/ring/1.png").rename(tmp_path / "outside.png")
    (tmp_path / "set/images/ring/1.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(InputError, match="ring/1.png: lies outside of .*images; copy it"):
        read_views(tmp_path / "set")
    listed = tmp_path / "set/sparse/0"
    data = (listed / "images.bin").read_bytes()
    images.save(tmp_path / "set/images/1.png", picture())
    (listed / "images.bin").write_bytes(data.replace(b"ring/1.png", b"../../o.pn"))
    images.save(tmp_path / "o.png", picture())
    (tmp_path / "o.png").rename(tmp_path / "o.pn")
    with pytest.raises(InputError, match="o.pn: lies outside of .*images; copy it"):
        read_views(tmp_path / "set")


def test_size_that_contradicts_the_camera(tmp_path):
    write_colmap(tmp_path)
    images.save(tmp_path / "images/ring/1.png", picture(1, 96, 80))
    with pytest.raises(InputError, match="1.png: 96x80 pixels, but its intrinsics are for 48x40"):
        read_views(tmp_path)


def test_absurd_focal_length(tmp_path):
    write_colmap(tmp_path, "PINHOLE", [1e6, 1e6, 24, 20])
    with pytest.raises(InputError, match="0.png: a focal length of 1e\\+06, 1e\\+06 px is absurd"):
        read_views(tmp_path)


def test_damaged_text(tmp_path):
    model = write_colmap(tmp_path, text=True)
    cameras, listed = (model / "cameras.txt").read_text(), (model / "images.txt").read_text()

    def refused(file: str, text: str, message: str) -> None:
        (model / "cameras.txt").write_text(cameras)
        (model / "images.txt").write_text(listed)
        (model / file).write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            read_views(tmp_path)
        assert "\n" not in str(caught.value)

    refused("cameras.txt", "1 PINHOLE 48 40 60 60 24\n", "cameras.txt: .*PINHOLE has 4 parameters, not 3")
    refused("cameras.txt", "1 PINHOLE 48 forty 60 60 24 20\n", "cameras.txt: truncated or damaged")
    refused("cameras.txt", "1 PINHOLE 48 40 nan 60 24 20\n", "cameras.txt: impossible camera")
    refused("cameras.txt", "2 PINHOLE 48 40 60 60 24 20\n", "camera 1, which does not exist")
    refused("cameras.txt", "", "camera 1, which does not exist")
    refused("images.txt", "# nothing\n", "no registered images")
    refused("images.txt", "1 1 0 0 0\n", "images.txt: truncated or damaged")
    refused("images.txt", "1 0 0 0 0 1 2 3 1 ring/0.png\n\n", "images.txt: image ring/0.png: not a quaternion")
    refused("images.txt", "1 1 0 0 0 1 inf 3 1 ring/0.png\n\n", "images.txt: image ring/0.png: .*finite")
    twice = "1 1 0 0 0 1 2 3 1 ring/0.png\n\n2 1 0 0 0 1 2 3 1 ring/0.png\n"
    refused("images.txt", twice, "ring/0.png is listed twice")


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("binary")
    return folder, write_colmap(folder)


def refuse_or_read(folder: Path) -> None:
    try:
        read_views(folder)
    except PadError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_truncated_binary(binary, name):
    folder, model = binary
    whole = (model / name).read_bytes()
    try:
        for length in range(len(whole)):
            (model / name).write_bytes(whole[:length])
            with pytest.raises(InputError, match=f"{name}: truncated or damaged"):
                read_views(folder)
    finally:
        (model / name).write_bytes(whole)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_absurd_count(binary, name):
    folder, model = binary
    whole = (model / name).read_bytes()
    try:
        (model / name).write_bytes(struct.pack("<Q", 2**60) + whole[8:])
        with pytest.raises(InputError, match=f"{name}"):
            read_views(folder)
    finally:
        (model / name).write_bytes(whole)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["cameras.bin", "images.bin"]), where=st.integers(0, 10**6), value=st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(binary, name, where, value):
    folder, model = binary
    whole = (model / name).read_bytes()
    changed = bytearray(whole)
    changed[where % len(whole)] = value
    try:
        (model / name).write_bytes(changed)
        refuse_or_read(folder)
    finally:
        (model / name).write_bytes(whole)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return folder, write_colmap(folder, text=True)


TOKENS = ["", "0", "-1", "1e400", "nan", "inf", "9" * 5000, "x", "#", "\0", "\n", "\u2028", "PINHOLE", "OPENCV"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["cameras.txt", "images.txt"]), data=st.data())
def test_any_changed_word_of_text_is_read_or_refused(written, name, data):
    folder, model = written
    whole = (model / name).read_text()
    words = whole.split(" ")
    words[data.draw(st.integers(0, len(words) - 1))] = data.draw(st.sampled_from(TOKENS) | st.text(max_size=5))
    (model / name).write_text(" ".join(words))
    try:
        refuse_or_read(folder)
    finally:
        (model / name).write_text(whole)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["cameras.txt", "images.txt"]), content=st.binary(max_size=100))
def test_any_bytes_of_text_are_read_or_refused(written, name, content):
    folder, model = written
    whole = (model / name).read_bytes()
    (model / name).write_bytes(content)
    try:
        refuse_or_read(folder)
    finally:
        (model / name).write_bytes(whole)
