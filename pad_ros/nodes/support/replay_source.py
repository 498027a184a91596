"""What camera_replay plays: the images of a folder, a data set or a rosbag2."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import yaml
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from ...errors import InputError
from ...evaluation.dataset import GOOD, find_mask
from ...evaluation.recordings import Recording
from ...imaging import images
from ...imaging.geometry import Camera
from ...io.bags import BagImage, image_topic, is_bag, read_images
from ...io.nerf import find_transforms, read_intrinsics
from .convert import camera_from_info, rgb_to_image


@dataclass(frozen=True, eq=False)
class ReplayFrame:
    """One image to publish. label, mask: what it shows, where a data set says so.

    message: makes the image message, compressed or not; raises ImageError or OSError for an image that cannot be read.
    """

    name: str
    camera: Camera | None
    message: Callable[[Header, bool], ImageMsg | CompressedImage]
    label: str = ""
    mask: Path | None = None


@dataclass(frozen=True, eq=False)
class ReplaySource:
    """count images; `frames` begins at the first again each time. has_camera: whether they come with intrinsics."""

    count: int
    has_camera: bool
    frames: Callable[[], Iterator[ReplayFrame]]


def open_source(path: str, camera_file: str, labels: str = "") -> ReplaySource:
    """camera_file: intrinsics; "": those of the data set or the bag. labels: of a bag, file or topic; "": none.

    InputError for what cannot be played.
    """
    source = Path(path)
    if path and source.exists() and is_bag(source) and not (source / "test").is_dir():
        return _bag_source(source, camera_file, labels)
    if labels:
        raise InputError(f"parameter labels: only a bag takes them, and {path} is none")
    files = find_images(path)
    intrinsics = Path(camera_file) if camera_file else find_transforms(source)
    camera = None if intrinsics is None else read_camera(intrinsics, files[0])
    return ReplaySource(len(files), camera is not None, lambda: (_file_frame(file, camera, source) for file in files))


def _bag_source(path: Path, camera_file: str, labels: str) -> ReplaySource:
    count = image_topic(path)[1]
    if count == 0:
        raise InputError(f"{path}: the bag has no images")
    given = bool(camera_file)
    first = next(read_images(path, limit=1, guess=given))
    camera = read_camera(Path(camera_file), path) if camera_file else first.camera

    def frames() -> Iterator[ReplayFrame]:
        if labels:
            for item in Recording(path, None, labels):
                message = partial(_bag_message, item.frame)
                yield ReplayFrame(f"{path}#{item.name}", camera, message, item.label, item.mask_path)
            return
        for frame in read_images(path, guess=given):
            yield ReplayFrame(f"{path}#{frame.stamp_ns}", camera, partial(_bag_message, frame))

    return ReplaySource(count, camera is not None, frames)


def _bag_message(frame: BagImage, header: Header, compressed: bool) -> ImageMsg | CompressedImage:
    if isinstance(frame.image, Exception):
        raise frame.image
    if not compressed:
        return rgb_to_image(frame.image, header)
    png = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))[1]
    return CompressedImage(header=header, format="png", data=array("B", png.tobytes()))


def _file_frame(file: Path, camera: Camera | None, root: Path) -> ReplayFrame:
    def message(header: Header, compressed: bool) -> ImageMsg | CompressedImage:
        if compressed:
            return CompressedImage(header=header, format=file.suffix[1:].lower(), data=array("B", file.read_bytes()))
        return rgb_to_image(images.load(file), header)

    label = file.parent.name if (root / "test").is_dir() else ""
    mask = find_mask(root, file) if label not in ("", GOOD) else None
    return ReplayFrame(str(file), camera, message, label, mask)


def find_images(folder: str) -> list[Path]:
    """The image files below a folder, below its test/ folder where it is a data set; InputError if there are none."""
    root = Path(folder)
    if not folder or not root.is_dir():
        raise InputError(f"parameter images: {folder!r} is no folder or bag; give the images to publish")
    if (root / "test").is_dir():
        root = root / "test"
    return sorted(images.find([root]), key=images.by_number)


def read_camera(path: Path, image: Path) -> Camera:
    """Intrinsics from a ROS calibration file (YAML, as camera_calibration writes it), or for `image` from a
    transforms.json; InputError if they are unusable."""
    if path.suffix == ".json":
        try:
            return read_intrinsics(path, image)
        except (RecursionError, OverflowError) as error:
            raise InputError(f"{path}: no usable transforms.json ({type(error).__name__})") from error
    try:
        values = yaml.safe_load(path.read_text())
        matrix, distortion = values["camera_matrix"]["data"], values["distortion_coefficients"]["data"]
        info = CameraInfo(width=int(values["image_width"]), height=int(values["image_height"]))
        info.distortion_model = values["distortion_model"]
        info.k, info.d = [float(v) for v in matrix], [float(v) for v in distortion]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, OverflowError, RecursionError, AssertionError) as error:
        raise InputError(f"{path}: not a ROS camera calibration ({type(error).__name__}: {error})") from error
    camera = camera_from_info(info)
    if camera is None:
        raise InputError(f"{path}: the camera is uncalibrated (its matrix is zero)")
    return camera
