"""Images of good units: which there are, which unit each shows, and damaged ones."""

import numpy as np
import pytest

from pad_ros.errors import ImageError, InputError
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera
from pad_ros.io.bags import typestore
from pad_ros.io.camera_file import CAMERA_FILE, read_camera, write_camera
from pad_ros.io.good_images import read_good_images
from pad_ros.reporting.bag_writer import BagWriter

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


def save(folder, *names):
    for name in names:
        images.save(folder / name, PIXELS)


def units(found):
    return [(image.name, image.unit) for image in found]


def test_a_subfolder_is_a_unit_and_a_loose_image_is_one(tmp_path):
    save(tmp_path, "10.png", "2.png", "part b/1.png", "part a/10.png", "part a/9.png")
    found = read_good_images(tmp_path)
    assert len(found) == 5
    assert units(found) == units(found) == [
        ("2.png", "2"), ("10.png", "10"), ("part a/9.png", "part a"), ("part a/10.png", "part a"),
        ("part b/1.png", "part b"),
    ]  # fmt: skip
    for image in found:
        np.testing.assert_array_equal(image.image, PIXELS)
        assert image.camera is None and image.taken_ns == (tmp_path / image.name).stat().st_mtime_ns


@pytest.mark.parametrize("inside", ["good", "test/good"])
def test_a_data_set_has_its_good_images_in_a_folder(tmp_path, inside):
    save(tmp_path, f"{inside}/1.png", f"{inside}/0.png", "test/Stains/0.png", "other/3.png")
    assert units(read_good_images(tmp_path)) == [("0.png", "0"), ("1.png", "1")]


def test_a_damaged_image_stays_in_the_list(tmp_path):
    save(tmp_path, "1.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:300])
    first, second = read_good_images(tmp_path)
    assert isinstance(first.image, np.ndarray) and isinstance(second.image, ImageError)
    (large,) = list(read_good_images(tmp_path, max_pixels=10))[:1]
    assert isinstance(large.image, ImageError)


def test_where_there_is_nothing_it_says_so(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_good_images(tmp_path / "none")
    with pytest.raises(InputError, match="no images"):
        read_good_images(tmp_path)
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(InputError, match="expected a folder"):
        read_good_images(tmp_path / "file.txt")


def test_the_camera_of_collected_images_is_used(tmp_path):
    camera = Camera(32, 24, 40.0, 41.0, 16.0, 12.0, (0.1, -0.02, 0.0, 0.001))
    save(tmp_path, "a/1.png")
    write_camera(camera, tmp_path)
    assert [image.camera for image in read_good_images(tmp_path)] == [camera]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "null", '{"width": 32}', '{"width": 1e9, "height": 2, "fx": 1, "fy": 1, "cx": 1, "cy": 1}',
     '{"width":32,"height":24,"fx":1e999,"fy":1,"cx":1,"cy":1,"distortion":[0,0,0,0]}', "[" * 50_000],
)  # fmt: skip
def test_a_bad_camera_is_refused_in_one_line(tmp_path, text):
    (tmp_path / CAMERA_FILE).write_text(text)
    with pytest.raises(InputError, match=f"{CAMERA_FILE}: not a camera"):
        read_camera(tmp_path)


def test_results_in_a_bag_name_the_units(tmp_path):
    types = typestore()

    def make(kind, **values):
        return types.types[kind](**values)

    def header(second):
        stamp = make("builtin_interfaces/msg/Time", sec=second, nanosec=5)
        return make("std_msgs/msg/Header", stamp=stamp, frame_id="camera")

    def result(second, part_id):
        from pad_ros.decision.inspection import Inspection
        from pad_ros.decision.result_message import result_message
        from pad_ros.verdicts import Reason

        def build(name, /, **values):
            return make(name, **values)

        return result_message(
            build, Inspection.hold(Reason.NO_MODEL, "none"), header=header(second), part_id=part_id, model_name="",
            model_hash="", trigger_stamp=make("builtin_interfaces/msg/Time", sec=0, nanosec=0),
        )  # fmt: skip

    def write(bag, topic, message, second):
        kind = message.__msgtype__
        bag.write(topic, kind, bytes(types.serialize_cdr(message, kind)), second * 10**9)

    with BagWriter(tmp_path / "bag") as bag:
        for second, part in ((1, "A1"), (2, "A1"), (3, ""), (4, None)):
            image = make(
                "sensor_msgs/msg/Image", header=header(second), height=48, width=64, encoding="rgb8", is_bigendian=0,
                step=192, data=PIXELS.ravel(),
            )  # fmt: skip
            write(bag, "/image_raw", image, second)
            if part is not None:
                write(bag, "/result", result(second, part), second)
    found = read_good_images(tmp_path / "bag")
    assert len(found) == 4
    assert [image.unit for image in found] == ["A1", "A1", "3000000005", "4000000005"]
    assert [image.taken_ns for image in found] == [k * 10**9 + 5 for k in (1, 2, 3, 4)]
