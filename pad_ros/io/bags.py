"""Images and other messages out of a rosbag2 (mcap or sqlite3), without ROS.

Messages are read as Jazzy and this package define them: what a bag says about its types is not parsed, so that
neither odd definitions nor topics that nobody asked for stop it.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from ..errors import ImageError, InputError, PadError, first_line
from ..imaging import images
from ..imaging.geometry import Camera
from ..imaging.images import Image
from ..resources import resource_folder
from . import bag_limits
from .encodings import camera_from_info, image_to_rgb

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
STRING_TYPE = "std_msgs/msg/String"
RESULT_TYPE = "pad_ros/msg/InspectionResult"
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
BAG_SUFFIXES = (".mcap", ".db3")
MAX_METADATA_BYTES = 10_000_000
MCAP_MAGIC = b"\x89MCAP0\r\n"


@dataclass(frozen=True, eq=False)
class BagImage:
    """One image message: its pixels, or the error that decoding it gave; the camera where one was recorded."""

    stamp_ns: int  # header stamp
    image: Image | ImageError
    camera: Camera | None
    frame_id: str = ""
    time_ns: int = 0  # of recording
    decode_ms: float = 0.0


def is_bag(path: Path) -> bool:
    """Whether `path` is a rosbag2: a folder with metadata.yaml or recordings in it, or an .mcap or .db3 file."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(p.suffix.lower() in BAG_SUFFIXES for p in path.iterdir())
    return path.suffix.lower() in BAG_SUFFIXES


def read_images(
    path: Path, topic: str | None = None, limit: int | None = None, guess: bool = False
) -> Iterator[BagImage]:
    """The images on `topic` (None: the only image topic) in the order they were recorded.

    limit: no more than this many, evenly spread over the recording. An image that cannot be decoded is
    handed on as an ImageError, so that none vanishes. The camera is that of the first camera_info next to
    the topic. Raises InputError for a bag that is missing, damaged, or has no or several image topics, and unless
    `guess` for a camera_info without intrinsics, as the cell does not judge images with one.
    """
    with closing(_open(path)) as reader:
        connections = _image_connections(reader, path, topic)
        base = connections[0].topic.removesuffix("/compressed").rpartition("/")[0]
        infos = [c for c in reader.connections if c.msgtype == INFO_TYPE and c.topic == f"{base}/camera_info"]
        wanted = _spread(sum(c.msgcount for c in connections), limit)
        with _damage(path):
            first_info = next(reader.messages(infos), None) if infos else None
            camera = None if first_info is None else camera_from_info(_message(first_info[2], INFO_TYPE))
            if first_info is not None and camera is None and not guess:
                raise InputError("camera_info is uncalibrated (K is zero); record it from a calibrated camera")
            for i, (connection, time_ns, raw) in enumerate(reader.messages(connections)):
                if i in wanted:
                    yield _decode(connection, time_ns, raw, camera)


def image_topic(path: Path, topic: str | None = None) -> tuple[str, int]:
    """(the image topic that `read_images` would read, how many messages it holds); InputError as there."""
    with closing(_open(path)) as reader:
        connections = _image_connections(reader, path, topic)
        return connections[0].topic, sum(c.msgcount for c in connections)


def read_strings(path: Path, topic: str) -> list[tuple[int, str]]:
    """(time of recording in ns, text) of the std_msgs/String messages on a topic; InputError where it has none."""
    with closing(_open(path)) as reader:
        connections = [c for c in reader.connections if c.topic == topic and c.msgtype == STRING_TYPE]
        if not connections:
            there = sorted({c.topic for c in reader.connections if c.msgtype == STRING_TYPE})
            raise InputError(f"{path}: no {STRING_TYPE} on {topic}; there are: {', '.join(there) or 'none'}")
        with _damage(path):
            return [(time_ns, str(_message(raw, STRING_TYPE).data)) for _, time_ns, raw in reader.messages(connections)]


def read_part_ids(path: Path) -> dict[int, str]:
    """The part_id that an InspectionResult in the bag names, by the stamp [ns] of its image; without empty ones."""
    with closing(_open(path)) as reader, _damage(path):
        connections = [c for c in reader.connections if c.msgtype == RESULT_TYPE]
        results = [_message(raw, RESULT_TYPE) for _, _, raw in (reader.messages(connections) if connections else ())]
    return {_stamp_ns(result): str(result.part_id) for result in results if result.part_id}


def read_messages(path: Path, topics: Container[str], kind: str) -> Iterator[tuple[str, Any]]:
    """(topic, message) of all messages of one kind on these topics, in the order of recording; none where none is."""
    with closing(_open(path)) as reader, _damage(path):
        connections = [c for c in reader.connections if c.topic in topics and c.msgtype == kind]
        for connection, _, raw in reader.messages(connections) if connections else ():
            yield connection.topic, _message(raw, kind)


def _spread(count: int, limit: int | None) -> Container[int]:
    """The indices of at most `limit` of `count` messages, evenly spread."""
    if limit is None or count <= limit:
        return range(count)
    return frozenset(np.linspace(0, count - 1, limit).round().astype(int).tolist())


def _open(path: Path) -> Reader:
    if not path.exists():
        raise InputError(f"{path}: no such bag")
    if not is_bag(path):
        if path.suffix == ".zstd":
            raise InputError(f"{path}: a compressed file of a bag; name the bag's folder, or unpack it by `zstd -d`")
        raise InputError(f"{path}: not a rosbag2 (a folder with metadata.yaml, an .mcap or a .db3 file)")
    metadata = path / "metadata.yaml"
    if path.is_dir() and not metadata.is_file():
        raise InputError(f"{path}: a bag without metadata.yaml; run `ros2 bag reindex` on it, or name its file")
    with _damage(path):
        if path.is_dir() and metadata.stat().st_size > MAX_METADATA_BYTES:
            raise InputError(f"metadata.yaml is larger than {MAX_METADATA_BYTES // 10**6} MB")
        reader = Reader(path)
        reader.open()
        for c in reader.connections:  # metadata.yaml is not checked by rosbags
            if not isinstance(c.topic, str) or not isinstance(c.msgtype, str) or not isinstance(c.msgcount, int):
                reader.close()
                raise ValueError(f"odd topic {str(c.topic)[:80]!r} in metadata.yaml")
    return reader


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """InputError for whatever reading throws: storage, yaml and type libraries have no common base class."""
    try:
        yield
    except PadError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        advice = f"; save what is left with `mcap recover {cut} -o NEW.mcap`" if (cut := _cut_off_mcap(path)) else ""
        raise InputError(f"{path}: the bag is damaged or none ({first_line(error)}){advice}") from error


def _cut_off_mcap(path: Path) -> Path | None:
    """The mcap file in or at `path` that begins as one and does not end as one."""
    try:
        for file in sorted(path.glob("*.mcap")) if path.is_dir() else [path]:
            with file.open("rb") as content:
                begin = content.read(len(MCAP_MAGIC))
                content.seek(-min(len(MCAP_MAGIC), content.seek(0, 2)), 2)
                if begin == MCAP_MAGIC != content.read():
                    return file
    except OSError:
        pass
    return None


def _image_connections(reader: Reader, path: Path, topic: str | None) -> list[Any]:
    connections = [c for c in reader.connections if c.msgtype in IMAGE_TYPES]
    topics = sorted({c.topic for c in connections})
    if not topics:
        raise InputError(f"{path}: the bag has no image topic")
    if topic is None and len(topics) > 1:
        raise InputError(f"{path}: several image topics, choose one with --topic: {', '.join(topics)}")
    wanted = topic or topics[0]
    if wanted not in topics:
        raise InputError(f"{path}: no image topic {wanted}; there are: {', '.join(topics)}")
    return [c for c in connections if c.topic == wanted]


@cache
def typestore() -> Typestore:
    """ROS 2 Jazzy's messages and ours."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for path in sorted(resource_folder("msg", "InspectionResult.msg").glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(encoding="utf-8"), f"pad_ros/msg/{path.stem}"))
    store.register(types)
    return store


def _stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def _message(raw: bytes, kind: str) -> Any:
    if len(raw) > bag_limits.MAX_UNPACKED_BYTES:
        raise ImageError(f"a message of more than {bag_limits.MAX_UNPACKED_BYTES // 10**6} MB")
    return typestore().deserialize_cdr(raw, kind)


def _decode(connection: Any, time_ns: int, raw: bytes, camera: Camera | None) -> BagImage:
    began = time.perf_counter()
    stamp, frame = time_ns, ""
    image: Image | ImageError
    try:
        message = _message(raw, connection.msgtype)
        stamp, frame = _stamp_ns(message), message.header.frame_id
        if connection.msgtype.endswith("CompressedImage"):
            image = images.decode(bytes(message.data), "compressed image message")[0]
        else:
            image = image_to_rgb(message)
    except ImageError as error:
        image = error
    except Exception as error:  # a cut-off message fails anywhere in the decoder
        image = ImageError(f"image message cannot be decoded ({first_line(error)})")
    return BagImage(stamp, image, camera, frame, time_ns, 1000 * (time.perf_counter() - began))
