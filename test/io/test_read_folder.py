"""Plain folders of photographs, and which reader `read_views` chooses."""

import struct

import cv2
import numpy as np
import pytest
from view_files import HEIGHT, WIDTH, picture, write_nerf

from pad_ros.errors import ImageError, InputError
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera
from pad_ros.io import loading
from pad_ros.io.loading import collect, guess_camera, make_view
from pad_ros.io.read_views import read_views


def write_folder(folder, count=3, suffix=".png"):
    for i in range(count):
        images.save(folder / f"{i}{suffix}", picture(i))


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an APP1 segment that holds Orientation (tag 0x0112)."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def with_exif_focal(jpeg: bytes, focal_35mm: int) -> bytes:
    """A JPEG with an APP1 segment that holds FocalLengthIn35mmFilm (tag 0xA405)."""
    tiff = b"II*\0" + struct.pack("<I", 8)
    tiff += struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)  # IFD0: pointer to the Exif IFD
    tiff += struct.pack("<HHHIHHI", 1, 0xA405, 3, 1, focal_35mm, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def test_folder(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"no image")
    views = read_views(tmp_path)
    assert [view.name for view in views.views] == ["0.png", "1.png", "2.png"]
    assert not views.posed
    assert views.views[0].camera == Camera(WIDTH, HEIGHT, 1.2 * WIDTH, 1.2 * WIDTH, WIDTH / 2, HEIGHT / 2)
    np.testing.assert_array_equal(views.views[2].image, picture(2))


def test_images_may_lie_one_below(tmp_path):
    write_folder(tmp_path / "images")
    assert [view.name for view in read_views(tmp_path).views] == ["images/0.png", "images/1.png", "images/2.png"]


def test_of_a_data_set_without_poses_only_good_training_views_are_read(tmp_path):
    write_folder(tmp_path / "train/good", 2)
    write_folder(tmp_path / "test/Burrs", 2)
    write_folder(tmp_path, 1)
    assert [view.name for view in read_views(tmp_path).views] == ["train/good/0.png", "train/good/1.png"]


def test_focal_length_from_exif(tmp_path):
    jpeg = cv2.imencode(".jpg", cv2.resize(picture(), (360, 240)))[1].tobytes()
    (tmp_path / "0.jpg").write_bytes(with_exif_focal(jpeg, 50))
    (tmp_path / "1.jpg").write_bytes(with_exif_focal(jpeg, 60_000))
    noted, absurd = read_views(tmp_path).views
    # 50 mm on film of 36 x 24 mm, whose diagonal COLMAP compares.
    assert noted.camera.fx == pytest.approx(500, rel=0.01)
    assert absurd.camera.fx == pytest.approx(1.2 * 360)


def test_orientation_from_exif(tmp_path):
    """The pixels stay as the sensor saw them, so that all photographs have one camera."""
    jpeg = cv2.imencode(".jpg", cv2.resize(picture(), (360, 240)))[1].tobytes()
    for i, orientation in enumerate((1, 6, 3, 8)):
        (tmp_path / f"{i}.jpg").write_bytes(with_exif_orientation(jpeg, orientation))
    views = read_views(tmp_path).views
    assert [view.quarter_turns for view in views] == [0, 1, 2, 3]
    assert [tuple(view.upright) for view in views] == [(0, -1), (-1, 0), (0, 1), (1, 0)]
    assert {view.image.shape for view in views} == {(240, 360, 3)}


@pytest.mark.parametrize("folder", [".", "images"])
def test_heic_is_refused(tmp_path, folder):
    """Left out in silence, they would be missed only in the model."""
    write_folder(tmp_path, 2)
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "IMG_7.HEIC").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"IMG_7.HEIC: HEIC photographs \(1 of them\) cannot be read; save them as JPEG"
    ):
        read_views(tmp_path)


def test_poses_are_taken_from_where_the_user_says(tmp_path):
    write_nerf(tmp_path, 3)
    assert read_views(tmp_path).posed
    assert read_views(tmp_path, poses="transforms").posed
    for path in (tmp_path, tmp_path / "transforms.json"):
        ignored = read_views(path, poses="none")
        assert len(ignored) == 3
        assert not ignored.posed
        assert ignored.views[0].camera == guess_camera(WIDTH, HEIGHT)
    with pytest.raises(InputError, match="no COLMAP model in it .cameras and images"):
        read_views(tmp_path, poses="colmap")


def test_poses_that_are_not_there(tmp_path):
    write_folder(tmp_path, 3)
    with pytest.raises(InputError, match="no transforms.json in it; leave --poses out, or say --poses none"):
        read_views(tmp_path, poses="transforms")


def test_only_renderings_have_exact_poses(tmp_path):
    write_nerf(tmp_path / "rendered", 2)
    write_nerf(tmp_path / "measured", 2, fl_x=60.0)
    assert read_views(tmp_path / "rendered").exact
    assert not read_views(tmp_path / "measured").exact


def test_damaged_image(tmp_path):
    write_folder(tmp_path, 2)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:200])
    with pytest.raises(ImageError, match="1.png: truncated"):
        read_views(tmp_path)


def test_links_out_of_the_folder_are_refused(tmp_path):
    write_folder(tmp_path / "set", 2)
    images.save(tmp_path / "outside.png", picture())
    (tmp_path / "set" / "2.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(InputError, match="2.png: lies outside of .*set; copy it"):
        read_views(tmp_path / "set")


def test_images_of_different_sizes(tmp_path):
    write_folder(tmp_path, 2)
    images.save(tmp_path / "9.png", picture(0, 64, 64))
    with pytest.raises(InputError, match="images of different sizes .48x40, 64x64.; use one camera"):
        read_views(tmp_path)


def test_empty_folder(tmp_path):
    with pytest.raises(InputError, match="no reference views .no images .png, .*no transforms.json, no COLMAP model"):
        read_views(tmp_path)


def test_path_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match="nothing: no such file or folder"):
        read_views(tmp_path / "nothing")


def test_path_of_another_kind(tmp_path):
    (tmp_path / "readme.md").write_text("hello")
    with pytest.raises(InputError, match="readme.md: expected a folder, a transforms.json or a rosbag2"):
        read_views(tmp_path / "readme.md")


@pytest.mark.parametrize("max_side, size", [(None, (48, 40)), (48, (48, 40)), (40, (40, 33))])
def test_max_side(tmp_path, max_side, size):
    write_folder(tmp_path, 1)
    view = read_views(tmp_path, max_side).views[0]
    assert (view.camera.width, view.camera.height) == size
    assert view.image.shape == (size[1], size[0], 3)
    assert view.camera == guess_camera(*size)  # square pixels, although 40 x 33 are not quite those of 48 x 40


def test_max_side_of_a_known_camera(tmp_path):
    write_nerf(tmp_path, 1, fl_x=60.0, cx=20.0)
    camera = read_views(tmp_path, 40).views[0].camera
    assert camera == Camera(WIDTH, HEIGHT, 60.0, 60.0, 20.0, HEIGHT / 2).resized(40, 33)


def test_max_side_with_mask_and_pose(tmp_path):
    write_nerf(tmp_path, 1)
    rgba = np.zeros((HEIGHT * 2, WIDTH * 2, 4), np.uint8)
    rgba[:, :WIDTH] = (10, 20, 30, 255)
    cv2.imwrite(str(tmp_path / "train/good/0.png"), rgba)
    view = read_views(tmp_path, WIDTH).views[0]
    assert view.mask.shape == view.image.shape[:2] == (HEIGHT, WIDTH)
    assert view.mask[:, : WIDTH // 2].all()
    assert not view.mask[:, WIDTH // 2 :].any()
    np.testing.assert_array_equal(view.image[0, [0, -1]], [[30, 20, 10], [255, 255, 255]])


def test_max_side_too_small(tmp_path):
    write_folder(tmp_path, 1)
    with pytest.raises(InputError, match="max side 31 px is less than 32 px"):
        read_views(tmp_path, 31)
    with pytest.raises(InputError, match="0.png: shrunk to 36 px: 36x30 pixels"):
        read_views(tmp_path, 36)


def test_the_mask_is_undistorted_like_the_image():
    camera = Camera(WIDTH, HEIGHT, 50, 50, 24, 20, (-0.3, 0, 0, 0))
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[5:-5, 8:-8] = 255
    view = make_view("v", np.repeat(alpha[..., None], 3, axis=2), alpha, camera, None, None)
    np.testing.assert_array_equal(view.mask, view.image[..., 0] > 127)
    assert view.mask.sum() != (alpha > 127).sum()


def test_too_many_pixels_together(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "MAX_TOTAL_PIXELS", 2 * WIDTH * HEIGHT)
    camera = Camera(WIDTH, HEIGHT, 50, 50, 24, 20)
    views = [make_view(str(i), picture(i), None, camera, None, None) for i in range(3)]
    assert len(collect(views[:2], "here")) == 2
    with pytest.raises(InputError, match="here: the first 3 images hold more than .* --max-side"):
        collect(views, "here")


@pytest.mark.slow
def test_shared_data_sets(shared):
    """Real files of other programs: MAD-like, instant-ngp (distorted, blurred frames deleted), NeRF-Blender."""
    loader = read_views(shared / "data/mad_like/loader", 64)
    assert (len(loader), loader.posed, loader.views[0].mask) == (100, True, None)
    lego = read_views(shared / "data/nerf_lego", 64)
    assert (len(lego), lego.posed, lego.views[0].mask is None) == (100, True, False)


@pytest.mark.slow
def test_shared_photographs(shared):
    fox = read_views(shared / "data/fox", 64)
    assert (len(fox), fox.posed) == (50, True)
    temple = read_views(shared / "data/temple_ring/images_640x480", 64)
    assert (len(temple), temple.posed) == (47, False)
