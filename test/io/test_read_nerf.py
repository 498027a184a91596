"""transforms.json: what is read, and one clear line for each way it can be wrong."""

import json
import math
import os
import shutil

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from view_files import HEIGHT, WIDTH, picture, poses, write_json, write_nerf

from pad_ros.errors import ImageError, InputError, PadError
from pad_ros.imaging import images
from pad_ros.imaging.geometry import undistort_image
from pad_ros.io.nerf import read_intrinsics
from pad_ros.io.read_views import read_views


def test_mad(tmp_path):
    write_nerf(tmp_path, 3)
    views = read_views(tmp_path)
    assert [view.name for view in views.views] == ["train/good/0.png", "train/good/1.png", "train/good/2.png"]
    assert views.posed
    assert views.source == str(tmp_path / "transforms.json")
    for i, (view, pose) in enumerate(zip(views.views, poses(3), strict=True)):
        np.testing.assert_array_equal(view.image, picture(i))
        np.testing.assert_allclose(view.pose.matrix, pose.matrix, atol=1e-12)
        assert view.mask is None
        assert view.camera.fx == view.camera.fy == pytest.approx(0.5 * WIDTH / math.tan(0.4))
        assert (view.camera.cx, view.camera.cy) == (WIDTH / 2, HEIGHT / 2)


def test_only_good_training_views_are_read(tmp_path):
    document = write_nerf(tmp_path, 2)
    for name in ("test/Burrs/0.png", "./train/good/../../test/Burrs/0.png"):
        document["frames"].append({**document["frames"][0], "file_path": name})
    images.save(tmp_path / "test/Burrs/0.png", picture(9))
    write_json(tmp_path / "transforms.json", document)
    assert [view.name for view in read_views(tmp_path).views] == ["train/good/0.png", "train/good/1.png"]


def test_no_good_training_view(tmp_path):
    document = write_nerf(tmp_path, 2, names="other/{}.png")
    (tmp_path / "train/good").mkdir(parents=True)
    write_json(tmp_path / "transforms.json", document)
    with pytest.raises(InputError, match="no frame has an image in .*train/good"):
        read_views(tmp_path)


def test_blender_names_without_suffix_and_alpha(tmp_path):
    write_nerf(tmp_path, 2, names="./train/r_{}", transforms="transforms_train.json")
    write_json(tmp_path / "transforms_test.json", {})
    rgba = np.dstack([cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    cv2.imwrite(str(tmp_path / "train/r_0.png"), rgba)
    views = read_views(tmp_path)
    assert views.ground is None  # one of them is no cut-out
    first, second = views.views
    assert first.name == "train/r_0.png"
    assert (first.image[:10] == 255).all()
    np.testing.assert_array_equal(first.image[10:], picture()[10:])
    assert not first.mask[:10].any()
    assert first.mask[10:].all()
    assert second.mask is None
    cv2.imwrite(str(tmp_path / "train/r_1.png"), rgba)
    cut_out = read_views(tmp_path)
    assert cut_out.ground is not None
    assert cut_out.ground.colour == (255, 255, 255)


def test_opaque_alpha_says_nothing(tmp_path):
    write_nerf(tmp_path, 1)
    cv2.imwrite(str(tmp_path / "train/good/0.png"), np.full((HEIGHT, WIDTH, 4), 255, np.uint8))
    assert read_views(tmp_path).views[0].mask is None


def test_instant_ngp_intrinsics_are_undistorted(tmp_path):
    values = {"fl_x": 60.0, "fl_y": 61, "cx": 23.0, "cy": 21.0, "w": float(WIDTH), "h": HEIGHT,
              "k1": -0.1, "k2": 0.02, "p1": 0.001, "p2": -0.002, "camera_angle_x": 3.0}  # fmt: skip
    write_nerf(tmp_path, 1, names="images/{}.png", **values)
    view = read_views(tmp_path / "transforms.json").views[0]
    camera = read_intrinsics(tmp_path / "transforms.json", tmp_path / "images/0.png")
    assert camera.distortion == (-0.1, 0.02, 0.001, -0.002)
    assert view.camera == camera.pinhole()
    assert (view.camera.fx, view.camera.fy, view.camera.cx, view.camera.cy) == (60, 61, 23, 21)
    np.testing.assert_array_equal(view.image, undistort_image(picture(0), camera))


def test_intrinsics_per_frame_go_before_global_ones(tmp_path):
    document = write_nerf(tmp_path, 2, fl_x=60.0)
    document["frames"][1]["fl_x"] = 70.0
    write_json(tmp_path / "transforms.json", document)
    assert [(view.camera.fx, view.camera.fy) for view in read_views(tmp_path).views] == [(60, 60), (70, 70)]


def test_camera_angle_y(tmp_path):
    write_nerf(tmp_path, 1, camera_angle_x=0.8, camera_angle_y=0.6)
    assert read_views(tmp_path).views[0].camera.fy == pytest.approx(0.5 * HEIGHT / math.tan(0.3))


def test_three_rows_and_byte_order_mark(tmp_path):
    document = write_nerf(tmp_path, 1)
    document["frames"][0]["transform_matrix"].pop()
    (tmp_path / "transforms.json").write_text(json.dumps(document), encoding="utf-8-sig")
    np.testing.assert_allclose(read_views(tmp_path).views[0].pose.matrix, poses(1)[0].matrix, atol=1e-12)


def test_frames_deleted_as_blurred_are_left_out(tmp_path, capsys):
    document = write_nerf(tmp_path, 3, names="images/{}.jpg")
    for frame in document["frames"]:
        frame["sharpness"] = 30.0
    write_json(tmp_path / "transforms.json", document)
    (tmp_path / "images/1.jpg").unlink()
    assert len(read_views(tmp_path)) == 2
    assert "1 of 3 frames have no image" in capsys.readouterr().err


FRAME = "transforms.json: frame 1"
DAMAGED_FRAMES = {
    "no file_path": (lambda f: f.pop("file_path"), f"{FRAME} has no file_path"),
    "file_path not text": (lambda f: f.update(file_path=3), f"{FRAME} has no file_path"),
    "no image": (lambda f: f.update(file_path="train/good/7.png"), f"{FRAME}: image .*7.png does not exist"),
    "NUL in file_path": (lambda f: f.update(file_path="train/good/\0"), f"{FRAME}: image .* does not exist"),
    "file_path too long": (lambda f: f.update(file_path="train/good/" + "x" * 5000), f"{FRAME}: image"),
    "twice": (lambda f: f.update(file_path="train/good/0"), f"{FRAME}: train/good/0.png is listed twice"),
    "unposed among posed": (lambda f: f.pop("transform_matrix"), f"{FRAME}.*transform_matrix is missing"),
    "matrix is text": (lambda f: f.update(transform_matrix="abc"), f"{FRAME}.*not a matrix of numbers"),
    "matrix is ragged": (lambda f: f.update(transform_matrix=[[1, 2], [3]]), f"{FRAME}.*not a matrix of numbers"),
    "matrix is an object": (lambda f: f.update(transform_matrix={}), f"{FRAME}.*not a matrix of numbers"),
    "matrix is small": (lambda f: f.update(transform_matrix=[[1, 0], [0, 1]]), f"{FRAME}.*4x4"),
    "huge integer": (lambda f: f["transform_matrix"][0].__setitem__(3, 10**400), f"{FRAME}.*not a matrix of numbers"),
    "NaN": (lambda f: f["transform_matrix"][0].__setitem__(3, float("nan")), f"{FRAME}.*finite"),
    "scaled": (lambda f: f.update(transform_matrix=np.diag([2, 2, 2, 1]).tolist()), f"{FRAME}.*not orthonormal"),
    "mirrored": (lambda f: f.update(transform_matrix=np.diag([-1, 1, 1, 1]).tolist()), f"{FRAME}.*right-handed"),
    "last row": (lambda f: f["transform_matrix"][3].__setitem__(3, 2.0), f"{FRAME}.*rigid"),
    "absurd focal length": (lambda f: f.update(fl_x=1e7), "1.png: a focal length of 1e\\+07.* is absurd"),
    "tiny focal length": (lambda f: f.update(fl_x=0.5), "1.png: a focal length of 0.5.* is absurd"),
    "negative focal length": (lambda f: f.update(fl_x=-50.0), f"{FRAME}.*impossible camera"),
    "focal length is text": (lambda f: f.update(fl_x="60"), f"{FRAME}.*fl_x must be a finite number"),
    "focal length is NaN": (lambda f: f.update(fl_x=float("nan")), f"{FRAME}.*fl_x must be a finite number"),
    "angle in degrees": (lambda f: f.update(camera_angle_x=45.0), f"{FRAME}.*field of view of 45.0 rad"),
    "principal point": (lambda f: f.update(cx=9000.0), "1.png: principal point 9000.* is far outside"),
    "size": (lambda f: f.update(w=96, h=80), "1.png: 48x40 pixels, but its intrinsics are for 96x80"),
    "k3": (lambda f: f.update(k3=0.1), f"{FRAME}.*only the distortion k1, k2, p1, p2"),
    "fisheye": (lambda f: f.update(is_fisheye=True), f"{FRAME}.*only the distortion k1, k2, p1, p2"),
    "camera model": (lambda f: f.update(camera_model="OPENCV_FISHEYE"), f"{FRAME}.*only the distortion"),
    "camera model not text": (lambda f: f.update(camera_model=[]), f"{FRAME}.*only the distortion"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED_FRAMES)
def test_damaged_frame(tmp_path, name):
    damage, message = DAMAGED_FRAMES[name]
    document = write_nerf(tmp_path, 3)
    damage(document["frames"][1])
    write_json(tmp_path / "transforms.json", document)
    with pytest.raises(InputError, match=message) as caught:
        read_views(tmp_path)
    assert "\n" not in str(caught.value)


DAMAGED_FILES = {
    "empty": (b"", "not valid JSON"),
    "text": (b"camera_angle_x = 3", "not valid JSON"),
    "cut off": (b'{"camera_angle_x": 0.8, "frames": [{"file_path"', "not valid JSON"),
    "not UTF-8": (b'{"frames": "\xff\xfe"}', "not valid JSON"),
    "deep": (b"[" * 100_000, "not valid JSON"),
    "list": (b"[]", "expected a JSON object with 'frames', got a list"),
    "number": (b"3", "got a int"),
    "no frames": (b'{"camera_angle_x": 0.8}', "no frames"),
    "empty frames": (b'{"camera_angle_x": 0.8, "frames": []}', "no frames"),
    "frames an object": (b'{"frames": {"0": 1}}', "no frames"),
    "frame a number": (b'{"frames": [1]}', "frame 0 has no file_path"),
}


@pytest.mark.parametrize("name", DAMAGED_FILES)
def test_damaged_file(tmp_path, name):
    data, message = DAMAGED_FILES[name]
    (tmp_path / "transforms.json").write_bytes(data)
    for path in (tmp_path, tmp_path / "transforms.json"):
        with pytest.raises(InputError, match=f"transforms.json.*{message}") as caught:
            read_views(path)
        assert "\n" not in str(caught.value)


def test_no_intrinsics(tmp_path):
    document = write_nerf(tmp_path, 1)
    del document["camera_angle_x"]
    write_json(tmp_path / "transforms.json", document)
    with pytest.raises(InputError, match=r"frame 0 .*no intrinsics \(fl_x or camera_angle_x\)"):
        read_views(tmp_path)


def test_damaged_image(tmp_path):
    write_nerf(tmp_path, 2)
    file = tmp_path / "train/good/1.png"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ImageError, match="1.png: truncated"):
        read_views(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(tmp_path):
    write_nerf(tmp_path, 1)
    (tmp_path / "transforms.json").chmod(0)
    with pytest.raises(InputError, match="cannot be read"):
        read_views(tmp_path)


@pytest.mark.parametrize("name", ["../outside.png", "train/../../outside.png", "link.png", "linked/outside.png"])
def test_images_outside_of_the_data_set_are_not_read(tmp_path, name):
    root = tmp_path / "set"
    document = write_nerf(root, 1, names="images/{}.png")
    images.save(tmp_path / "outside.png", picture())
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "linked").symlink_to(tmp_path)
    document["frames"][0]["file_path"] = name
    write_json(root / "transforms.json", document)
    with pytest.raises(InputError, match="lies outside of .*set; copy it"):
        read_views(root)
    document["frames"][0]["file_path"] = str(tmp_path / "outside.png")
    write_json(root / "transforms.json", document)
    with pytest.raises(InputError, match="lies outside of|does not exist"):
        read_views(root)


def test_links_within_the_data_set_are_followed(tmp_path):
    write_nerf(tmp_path, 1)
    (tmp_path / "train/good/0.png").rename(tmp_path / "kept.png")
    (tmp_path / "train/good/0.png").symlink_to(tmp_path / "kept.png")
    assert len(read_views(tmp_path)) == 1


def test_read_intrinsics_needs_shared_ones(tmp_path):
    document = write_nerf(tmp_path, 1)
    del document["camera_angle_x"]
    write_json(tmp_path / "transforms.json", document)
    with pytest.raises(InputError, match="no intrinsics"):
        read_intrinsics(tmp_path / "transforms.json", tmp_path / "train/good/0.png")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["frames", "file_path", "transform_matrix", "fl_x", "w", "h", "cx", "k1"]),
            inner, max_size=6,
        )
    ),
    max_leaves=20,
)  # fmt: skip


@pytest.fixture(scope="module")
def one_view(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_view")
    document = write_nerf(folder, 1)
    yield folder, document
    shutil.rmtree(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=JSON)
def test_any_json_is_read_or_refused(one_view, document):
    folder, _ = one_view
    (folder / "transforms.json").write_text(json.dumps(document))
    with pytest.raises(PadError):
        read_views(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(["transform_matrix", "fl_x", "fl_y", "w", "h", "cx", "cy", "k1", "k3", "p2", "camera_angle_x",
                         "camera_angle_y", "is_fisheye", "camera_model", "sharpness", "file_path"]),
    value=JSON,
)  # fmt: skip
def test_any_value_in_a_frame_is_read_or_refused(one_view, key, value):
    folder, document = one_view
    frame = {**document["frames"][0], key: value}
    (folder / "transforms.json").write_text(json.dumps({**document, "frames": [frame]}))
    try:
        views = read_views(folder)
    except PadError as error:
        assert "\n" not in str(error)
    else:
        assert len(views) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused(one_view, data):
    folder, _ = one_view
    (folder / "transforms.json").write_bytes(data)
    with pytest.raises(PadError):
        read_views(folder)
