"""Small bags on disk, of messages as ROS 2 Jazzy has them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from pad_ros.io import bags

TYPES = get_typestore(Stores.ROS2_JAZZY)
WIDTH, HEIGHT = 48, 40
SECOND = 1_000_000_000
STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}

Message = tuple[str, Any]  # topic, message


def picture(seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR), np.uint8)


def make(name: str, **values: Any) -> Any:
    return TYPES.types[name](**values)


def header(stamp_ns: int) -> Any:
    stamp = make("builtin_interfaces/msg/Time", sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id="camera")


def raw(seed: int, stamp_ns: int, **changes: Any) -> Any:
    values = {"height": HEIGHT, "width": WIDTH, "encoding": "rgb8", "is_bigendian": 0, "step": 3 * WIDTH,
              "data": picture(seed).ravel(), **changes}  # fmt: skip
    return make("sensor_msgs/msg/Image", header=header(stamp_ns), **values)


def compressed(seed: int, stamp_ns: int, cut: int | None = None) -> Any:
    png = cv2.imencode(".png", cv2.cvtColor(picture(seed), cv2.COLOR_RGB2BGR))[1].ravel()[:cut]
    return make("sensor_msgs/msg/CompressedImage", header=header(stamp_ns), format="png", data=png)


def camera_info(
    focal: float = 60.0, d: Sequence[float] = (0.0,) * 5, model: str = "plumb_bob", width: int = WIDTH
) -> Any:
    roi = make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    k = np.array([focal, 0, 23.5, 0, focal, 19.5, 0, 0, 1.0])
    return make(
        "sensor_msgs/msg/CameraInfo", header=header(0), height=HEIGHT, width=width, distortion_model=model,
        d=np.array(d, np.float64), k=k, r=np.eye(3).ravel(), p=np.zeros(12), binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip


def write_bag(
    path: Path, messages: Sequence[Message], storage: str = "mcap", spoil: Callable[[bytes], bytes] = bytes,
    kinds: str = "Image",
) -> Path:  # fmt: skip
    """A bag of `messages`, one each second; `spoil` changes the serialized messages whose type has `kinds` in it."""
    with Writer(path, version=9, storage_plugin=STORAGES[storage]) as writer:
        connections = {}
        for i, (topic, message) in enumerate(messages):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            data = bytes(TYPES.serialize_cdr(message, kind))
            writer.write(connections[topic], (i + 1) * SECOND, spoil(data) if kinds in kind else data)
    return path


def storage_file(bag: Path) -> Path:
    return next(p for p in bag.iterdir() if p.suffix in bags.BAG_SUFFIXES)
