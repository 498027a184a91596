"""rosbag2 without ROS: mcap and sqlite3, raw and compressed images, damaged messages and files."""

import numpy as np
import pytest
from bag_files import HEIGHT, SECOND, STORAGES, WIDTH, camera_info, compressed, picture, raw, storage_file, write_bag
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pad_ros.errors import ImageError, InputError, PadError
from pad_ros.imaging.geometry import Camera, undistort_image
from pad_ros.io import bag_views, bags
from pad_ros.io.bags import is_bag, read_images
from pad_ros.io.read_views import read_views


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kind", [raw, compressed])
def test_images_of_a_bag(tmp_path, kind, storage, whole):
    messages = [("/cell/image", kind(i, 7 * SECOND + i)) for i in range(3)]
    bag = write_bag(tmp_path / "bag", [*messages, ("/cell/camera_info", camera_info())], storage)
    bag = bag if whole else storage_file(bag)
    assert is_bag(bag)
    frames = list(read_images(bag))
    assert [frame.stamp_ns for frame in frames] == [7 * SECOND + i for i in range(3)]
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(i))
        assert frame.camera == Camera(WIDTH, HEIGHT, 60.0, 60.0, 24.0, 20.0)  # half a pixel from K


def test_no_camera_info(tmp_path):
    write_bag(tmp_path / "bag", [("/image", raw(0, 1)), ("/other/camera_info", camera_info())])
    assert next(read_images(tmp_path / "bag")).camera is None


def test_camera_info_of_a_compressed_topic(tmp_path):
    write_bag(tmp_path / "bag", [("/a/image_raw/compressed", compressed(0, 1)), ("/a/camera_info", camera_info(70.0))])
    assert next(read_images(tmp_path / "bag")).camera.fx == 70.0


def test_topics(tmp_path):
    bag = write_bag(
        tmp_path / "bag", [("/b/image", raw(1, 1)), ("/a/image", compressed(2, 2)), ("/a/camera_info", camera_info())]
    )
    with pytest.raises(InputError, match="several image topics, choose one with --topic: /a/image, /b/image"):
        list(read_images(bag))
    with pytest.raises(InputError, match="no image topic /c; there are: /a/image, /b/image"):
        list(read_images(bag, "/c"))
    (frame,) = read_images(bag, "/b/image")
    np.testing.assert_array_equal(frame.image, picture(1))
    assert frame.camera is None
    write_bag(tmp_path / "none", [("/a/camera_info", camera_info())])
    with pytest.raises(InputError, match="none: the bag has no image topic"):
        list(read_images(tmp_path / "none"))


def test_a_damaged_image_is_handed_on(tmp_path):
    messages = [
        raw(0, 1), raw(1, 2, encoding="nv12"), raw(2, 3, data=picture().ravel()[:-1]), raw(3, 4, width=0),
        raw(4, 5, step=10), raw(5, 6),
    ]  # fmt: skip
    bag = write_bag(tmp_path / "bag", [("/image", message) for message in messages])
    frames = list(read_images(bag))
    assert [frame.stamp_ns for frame in frames] == [1, 2, 3, 4, 5, 6]
    assert [isinstance(frame.image, ImageError) for frame in frames] == [False, True, True, True, True, False]
    for frame, text in zip(frames[1:5], ("nv12", "truncated", "without pixels", "step 10"), strict=True):
        assert text in str(frame.image)


def test_a_truncated_compressed_image_is_handed_on(tmp_path):
    bag = write_bag(tmp_path / "bag", [("/image", compressed(0, 1, cut=-20)), ("/image", compressed(1, 2))])
    first, second = read_images(bag)
    assert isinstance(first.image, ImageError)
    assert "truncated" in str(first.image)
    np.testing.assert_array_equal(second.image, picture(1))


@pytest.mark.parametrize("length", [0, 3, 11, 40, 200])
@pytest.mark.parametrize("kind", [raw, compressed])
def test_a_message_cut_off_is_handed_on(tmp_path, kind, length):
    bag = write_bag(
        tmp_path / "bag", [("/image", kind(0, 5)), ("/image", kind(1, 6))], spoil=lambda data: data[:length]
    )
    frames = list(read_images(bag))
    assert len(frames) == 2
    assert all(isinstance(frame.image, ImageError) for frame in frames)
    assert all(frame.stamp_ns for frame in frames)  # the time of recording where the header is lost


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 79), value=st.integers(0, 255))
def test_any_changed_byte_of_a_message(tmp_path_factory, where, value):
    def change(data: bytes) -> bytes:
        return data[:where] + bytes([value]) + data[where + 1 :]

    bag = write_bag(tmp_path_factory.mktemp("changed") / "bag", [("/image", raw(0, 5))], spoil=change)
    (frame,) = read_images(bag)
    assert isinstance(frame.image, ImageError) or frame.image.ndim == 3


def test_unusable_camera_info(tmp_path):
    bag = write_bag(
        tmp_path / "bag", [("/image", raw(0, 1)), ("/camera_info", camera_info(d=[0.1] * 8, model="equidistant"))]
    )
    with pytest.raises(InputError, match="bag: camera_info: distortion 'equidistant'"):
        list(read_images(bag))


def test_a_camera_info_without_intrinsics_is_refused_as_by_the_cell(tmp_path):
    """But photographs of an uncalibrated camera can be learned from."""
    info = camera_info()
    info.k[:] = 0
    bag = write_bag(tmp_path / "bag", [("/image", raw(0, 1)), ("/camera_info", info)])
    with pytest.raises(InputError, match="camera_info is uncalibrated"):
        list(read_images(bag))
    assert [frame.camera for frame in read_images(bag, guess=True)] == [None]


def test_a_compressed_file_alone_is_named(tmp_path):
    (tmp_path / "bag_0.db3.zstd").write_bytes(b"")
    with pytest.raises(InputError, match="name the bag's folder, or unpack it by `zstd -d`"):
        list(read_images(tmp_path / "bag_0.db3.zstd"))


def test_not_a_bag(tmp_path):
    with pytest.raises(InputError, match="nothing: no such bag"):
        list(read_images(tmp_path / "nothing"))
    with pytest.raises(InputError, match="not a rosbag2"):
        list(read_images(tmp_path))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="not a rosbag2"):
        list(read_images(tmp_path / "notes.txt"))
    for suffix in bags.BAG_SUFFIXES:
        (tmp_path / f"x{suffix}").write_bytes(b"")
        with pytest.raises(InputError, match=f"x{suffix}: the bag is damaged or none"):
            list(read_images(tmp_path / f"x{suffix}"))


def test_a_bag_without_metadata(tmp_path):
    bag = write_bag(tmp_path / "bag", [("/image", raw(0, 1))])
    (bag / "metadata.yaml").unlink()
    with pytest.raises(InputError, match="a bag without metadata.yaml; run `ros2 bag reindex`"):
        list(read_images(bag))
    with pytest.raises(InputError, match="a bag without metadata.yaml"):
        read_views(bag)


@pytest.mark.parametrize("text", ["", "x", "[1, 2", "rosbag2_bagfile_information: 3", "\0"])
def test_damaged_metadata(tmp_path, text):
    bag = write_bag(tmp_path / "bag", [("/image", raw(0, 1))])
    (bag / "metadata.yaml").write_text(text)
    with pytest.raises(InputError, match="bag: the bag is damaged or none") as caught:
        list(read_images(bag))
    assert "\n" not in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_changed_metadata(tmp_path_factory, data):
    """One line of it is something else, or is not there."""
    bag = write_bag(tmp_path_factory.mktemp("metadata") / "bag", [("/image", raw(0, 1))])
    lines = (bag / "metadata.yaml").read_text().splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    value = data.draw(st.sampled_from(["", "[]", "{}", "null", "-1", "1e400", "&a [*a]", "!!timestamp 9", "x" * 1000]))
    lines[at] = data.draw(st.sampled_from(["", f"{lines[at].partition(':')[0]}: {value}", value]))
    (bag / "metadata.yaml").write_text("\n".join(lines))
    try:
        list(read_images(bag))
    except PadError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("storage", STORAGES)
def test_a_truncated_file(tmp_path, storage, share):
    bag = write_bag(tmp_path / "bag", [("/image", raw(i, i + 1)) for i in range(5)], storage)
    file = storage_file(bag)
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    for path in (bag, file):
        with pytest.raises(InputError) as caught:
            list(read_images(path))
        assert "\n" not in str(caught.value)
        if storage == "mcap" and share:
            assert f"mcap recover {file} -o NEW.mcap" in str(caught.value)


@settings(max_examples=30, deadline=None)
@given(storage=st.sampled_from(sorted(STORAGES)), where=st.floats(0, 1), flip=st.integers(1, 255))
def test_any_changed_byte_of_a_file(tmp_path_factory, storage, where, flip):
    bag = write_bag(tmp_path_factory.mktemp("flipped") / "bag", [("/image", raw(i, i + 1)) for i in range(2)], storage)
    file = storage_file(bag)
    data = bytearray(file.read_bytes())
    data[min(int(where * len(data)), len(data) - 1)] ^= flip
    file.write_bytes(data)
    try:
        frames = list(read_images(bag))
    except PadError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(frame.image, ImageError | np.ndarray) for frame in frames)


def test_views(tmp_path):
    info = camera_info(d=[-0.2, 0.05, 0.001, 0.002, 0.0])
    bag = write_bag(tmp_path / "bag", [("/camera_info", info), *(("/image", raw(i, i + 1)) for i in range(3))])
    camera = Camera(WIDTH, HEIGHT, 60.0, 60.0, 24.0, 20.0, (-0.2, 0.05, 0.001, 0.002))
    views = read_views(bag)
    assert not views.posed
    assert views.source == str(bag)
    assert [view.name for view in views.views] == ["000000_1.png", "000001_2.png", "000002_3.png"]
    for i, view in enumerate(views.views):
        assert view.camera == camera.pinhole()
        np.testing.assert_array_equal(view.image, undistort_image(picture(i), camera))


def test_views_are_spread_over_the_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(bag_views, "MAX_VIEWS", 4)
    bag = write_bag(tmp_path / "bag", [("/image", raw(i, i + 1)) for i in range(10)])
    views = read_views(bag)
    assert [view.name for view in views.views] == ["000000_1.png", "000001_4.png", "000002_7.png", "000003_10.png"]
    assert views.views[0].camera.fx == 1.2 * WIDTH


def test_damaged_images_are_no_views(tmp_path, capsys):
    bag = write_bag(tmp_path / "bag", [("/image", raw(0, 1, encoding="nv12")), ("/image", raw(1, 2))])
    assert len(read_views(bag)) == 1
    assert "image at 1 ns is left out: encoding 'nv12'" in capsys.readouterr().err
    bag = write_bag(tmp_path / "worse", [("/image", raw(0, 1, encoding="nv12"))])
    with pytest.raises(InputError, match="worse: the bag has no usable images"):
        read_views(bag)


def test_views_that_contradict_their_camera_info(tmp_path):
    bag = write_bag(tmp_path / "bag", [("/image", raw(0, 1)), ("/camera_info", camera_info(width=96))])
    with pytest.raises(InputError, match="bag: image at 1 ns: 48x40 pixels, but its intrinsics are for 96x40"):
        read_views(bag)
