"""Bags that ask for more than they hold, and topics that nobody asked for."""

import struct
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
from bag_files import SECOND, TYPES, camera_info, picture, raw, storage_file, write_bag
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, storage_mcap
from rosbags.rosbag2 import reader as rosbag2_reader

from pad_ros.errors import ImageError, InputError
from pad_ros.io import bag_limits
from pad_ros.io.bags import read_images

LIMIT = 2_000_000


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr(bag_limits, "MAX_UNPACKED_BYTES", LIMIT)


def write_compressed(path: Path, mode: CompressionMode, storage: StoragePlugin, size: int) -> Path:
    """One raw image message with `size` bytes of zeros in it."""
    writer = Writer(path, version=9, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        message = raw(0, SECOND, data=np.zeros(size, np.uint8))
        connection = writer.add_connection("/image", message.__msgtype__, typestore=TYPES)
        writer.write(connection, SECOND, bytes(TYPES.serialize_cdr(message, message.__msgtype__)))
    return path


def test_the_functions_that_are_replaced_are_there():
    """What pad_ros.io.bag_limits relies on in rosbags."""
    assert rosbag2_reader.zstd is bag_limits._BoundedZstd
    assert storage_mcap.get_msgdef is bag_limits._any_msgdef
    assert set(storage_mcap.DECOMPRESSORS) == {"", "zstd", "lz4"}
    assert "rosbags" in storage_mcap.decompress.__module__


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE, CompressionMode.STORAGE])
def test_a_compressed_bag_is_read_up_to_the_limit(tmp_path, small_limit, mode, storage):
    if mode is CompressionMode.STORAGE and storage is StoragePlugin.SQLITE3:
        return  # there is no such thing
    (frame,) = read_images(write_compressed(tmp_path / "ok", mode, storage, 100_000))
    assert frame.image.shape == (40, 48, 3)
    bomb = write_compressed(tmp_path / "bomb", mode, storage, 40 * LIMIT)
    assert storage_file_size(bomb) < LIMIT / 20
    with pytest.raises(InputError, match="in one compressed piece|times its size") as caught:
        list(read_images(bomb))
    assert "\n" not in str(caught.value)


def storage_file_size(bag: Path) -> int:
    return sum(file.stat().st_size for file in bag.iterdir())


def test_an_lz4_chunk_is_bounded(small_limit):
    unpack = storage_mcap.DECOMPRESSORS["lz4"]
    assert unpack(lz4.frame.compress(b"x" * 1000), 1000) == b"x" * 1000
    with pytest.raises(ValueError, match="in one compressed piece"):
        unpack(lz4.frame.compress(bytes(2 * LIMIT)), 2 * LIMIT)
    with pytest.raises(ValueError, match="cut off"):
        unpack(lz4.frame.compress(np.random.default_rng(0).bytes(1000))[:-500], 1000)


def test_a_large_message_is_handed_on_as_an_error(tmp_path, small_limit):
    bag = write_bag(tmp_path / "bag", [("/image", raw(0, 1, data=np.zeros(LIMIT, np.uint8))), ("/image", raw(1, 2))])
    first, second = read_images(bag)
    assert isinstance(first.image, ImageError) and "a message of more than" in str(first.image)
    np.testing.assert_array_equal(second.image, picture(1))


@pytest.mark.parametrize("length", [2**31 - 1, 2**32 - 1])
def test_arrays_that_promise_more_than_there_is(tmp_path, length):
    """The length of the data's array, 4 bytes before the pixels."""

    def spoil(data: bytes) -> bytes:
        at = data.index(picture(0).tobytes()) - 4
        return data[:at] + struct.pack("<I", length) + data[at + 4 :]

    bag = write_bag(tmp_path / "bag", [("/image", raw(0, 5))], spoil=spoil)
    (frame,) = read_images(bag)
    assert isinstance(frame.image, ImageError)


def test_a_huge_metadata_file(tmp_path, monkeypatch):
    bag = write_bag(tmp_path / "bag", [("/image", raw(0, 1))])
    with (bag / "metadata.yaml").open("a") as file:
        file.write("#" * 10_000_001)
    with pytest.raises(InputError, match="metadata.yaml is larger than 10 MB"):
        list(read_images(bag))


def patched(bag: Path, old: bytes, new: bytes) -> Path:
    """The mcap file of a bag, alone, with some bytes replaced by as many others."""
    assert len(old) == len(new)
    file = storage_file(bag)
    data = file.read_bytes()
    assert old in data
    file.write_bytes(data.replace(old, new))
    return file


@pytest.mark.parametrize(
    "old, new",
    [
        (b"uint32 height", b"odd[99999] 7+"),  # no longer a definition
        (b"uint8[] data", b"uint8[9] dat"),
        (b"ros2msg", b"unheard"),  # an encoding of schemas that nobody knows
    ],
)
def test_what_a_bag_says_about_its_types_is_not_parsed(tmp_path, old, new):
    bag = write_bag(tmp_path / "bag", [("/image", raw(0, 7)), ("/camera_info", camera_info())])
    (frame,) = read_images(patched(bag, old, new))
    np.testing.assert_array_equal(frame.image, picture(0))
    assert frame.camera is not None


def test_service_events_are_passed_over(tmp_path):
    """Introspection records types that no message package has, such as std_srvs/srv/Trigger_Event."""
    bag = write_bag(tmp_path / "bag", [("/image", raw(0, 7)), ("/camera_info", camera_info())])
    file = patched(bag, b"sensor_msgs/msg/CameraInfo", b"std_srvs/srv/Trigger_Event")
    (frame,) = read_images(file)
    np.testing.assert_array_equal(frame.image, picture(0))
