"""camera_replay: publishes the images of a folder or data set as a camera would."""

from __future__ import annotations

import json
import re
import sys
from array import array
from pathlib import Path

import yaml
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header, String

from .. import images
from ..errors import ImageError, InputError
from ..geometry import Camera
from ..readers.nerf import find_transforms, read_intrinsics
from .base import run
from .convert import camera_from_info, camera_to_info, rgb_to_image
from .parameters import Parameters
from .qos import reliable


class CameraReplayNode(Node):
    """Publishes `image_raw` (or `image_raw/compressed`), `camera_info`, and on `image_name` the file of each image.

    Waits for a subscriber; ends after the last image unless `loop` is set. InputError for a wrong parameter.
    """

    def __init__(self, *, overrides: dict[str, object] | None = None, namespace: str = "") -> None:
        given = [Parameter(key, value=value) for key, value in (overrides or {}).items()]
        super().__init__("camera_replay", parameter_overrides=given, namespace=namespace)
        declare = Parameters(self).declare
        folder = declare("images", "", "image folder, or data set: then its test/ folder; searched recursively")
        rate = declare("rate", 2.0, "images per second", limits=(0.01, 1000.0))
        self._loop = declare("loop", False, "start again after the last image")
        self._frame = declare("camera_frame", "camera_optical_frame", "frame_id of all messages")
        transport = declare("image_transport", "raw", "how to send the images", choices=("raw", "compressed"))
        camera_file = declare(
            "camera",
            "",
            "intrinsics: ROS calibration (YAML) or transforms.json; empty: the data set's own, or no camera_info",
        )
        log = declare("log", "", "file that gets one JSON line per image: its stamp (ns) and its file; empty: none")
        self._files = find_images(folder)
        source = Path(camera_file) if camera_file else find_transforms(Path(folder))
        self._camera = None if source is None else read_camera(source, self._files[0])
        self._log = open(log, "w", buffering=1) if log else None  # noqa: SIM115  (open as long as the node)
        self._next = 0
        self._compressed = transport == "compressed"
        topic, kind = ("image_raw/compressed", CompressedImage) if self._compressed else ("image_raw", ImageMsg)
        self._images = self.create_publisher(kind, topic, reliable(5))
        # Only where there is something to say: the line waits for a camera_info that is announced.
        self._infos = self.create_publisher(CameraInfo, "camera_info", reliable(1)) if self._camera else None
        self._names = self.create_publisher(String, "image_name", reliable(5))
        self.create_timer(1.0 / rate, self._tick)

    def describe(self) -> str:
        return f"{len(self._files)} images"

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
        self.destroy_node()

    def _tick(self) -> None:
        if self._images.get_subscription_count() == 0:
            return
        if self._next == len(self._files):
            if not self._loop:
                self._images.wait_for_all_acked(Duration(seconds=5))
                self.context.try_shutdown()  # ends `run`
                return
            self._next = 0
        path = self._files[self._next]
        self._next += 1
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame)
        try:
            message = self._message(path, header)
        except (ImageError, OSError) as error:
            self.get_logger().error(f"left out: {error}")
            return
        if self._infos is not None and self._camera is not None:
            self._infos.publish(camera_to_info(self._camera, header))
        self._names.publish(String(data=str(path)))
        self._images.publish(message)
        stamp = header.stamp.sec * 10**9 + header.stamp.nanosec
        self.get_logger().info(f"{stamp} {path}")
        if self._log is not None:
            self._log.write(json.dumps({"stamp": stamp, "image": str(path)}) + "\n")

    def _message(self, path: Path, header: Header) -> ImageMsg | CompressedImage:
        if self._compressed:
            return CompressedImage(header=header, format=path.suffix[1:].lower(), data=array("B", path.read_bytes()))
        return rgb_to_image(images.load(path), header)


def find_images(folder: str) -> list[Path]:
    """The image files below a folder, below its test/ folder where it is a data set; InputError if there are none."""
    root = Path(folder)
    if not folder or not root.is_dir():
        raise InputError(f"parameter images: {folder!r} is no folder; give the images to publish")
    if (root / "test").is_dir():
        root = root / "test"
    files = [path for path in root.rglob("*") if path.suffix.lower() in images.SUFFIXES and path.is_file()]
    if not files:
        raise InputError(f"{root}: no images ({', '.join(images.SUFFIXES)})")
    return sorted(files, key=_natural)


def read_camera(path: Path, image: Path) -> Camera:
    """Intrinsics from a ROS calibration file (YAML, as camera_calibration writes it), or for `image` from a
    transforms.json; InputError if they are unusable."""
    if path.suffix == ".json":
        return read_intrinsics(path, image)
    try:
        values = yaml.safe_load(path.read_text())
        matrix, distortion = values["camera_matrix"]["data"], values["distortion_coefficients"]["data"]
        info = CameraInfo(
            width=int(values["image_width"]),
            height=int(values["image_height"]),
            distortion_model=values["distortion_model"],
            k=[float(v) for v in matrix],
            d=[float(v) for v in distortion],
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AssertionError) as error:
        raise InputError(f"{path}: not a ROS camera calibration ({type(error).__name__}: {error})") from error
    camera = camera_from_info(info)
    if camera is None:
        raise InputError(f"{path}: the camera is uncalibrated (its matrix is zero)")
    return camera


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key under which "2" comes before "10"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", str(path))]


def main() -> int:
    return run(CameraReplayNode)


if __name__ == "__main__":
    sys.exit(main())
