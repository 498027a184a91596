"""Reference views out of a rosbag2: its images, and their poses where /tf tells them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..errors import ImageError, InputError, located
from ..imaging.geometry import Pose
from ..imaging.views import Measured, ReferenceViews, View
from ..progress import say
from .bags import BagImage, read_images, read_messages
from .loading import collect, guess_camera, make_view, with_guess
from .transforms import TOPICS, TRANSFORM_TYPE, NoTransformError, Transforms, merged

MAX_VIEWS = 150  # taken from a bag, evenly spread over the recording


def read_bag_views(path: Path, max_side: int | None, topic: str | None, part_frame: str | None) -> ReferenceViews:
    """Reference views from one image topic of a bag (None: the only one), at most MAX_VIEWS of them.

    part_frame: a frame of /tf that does not move against the part; the views then have poses in it, in metres. Images
    that cannot be decoded, or whose pose /tf does not tell, are left out with a line on stderr. InputError where none
    remains, or /tf does not connect the camera with the part.
    """
    transforms = None
    if part_frame is not None:
        with located(path):
            transforms = merged(read_messages(path, TOPICS, TRANSFORM_TYPE))
            if not transforms:
                raise InputError("no transforms on /tf or /tf_static; record them, or leave --part-frame out")
    frames: set[str] = set()
    shots = _shots(path, topic, transforms, part_frame or "", frames)
    views = collect((_view(path, i, frame, pose, max_side) for i, frame, pose in shots), str(path))
    if not views.views:
        raise InputError(f"{path}: the bag has no usable images")
    if transforms is None:
        return views
    if len(frames) > 1:
        raise InputError(f"{path}: images of several cameras ({', '.join(sorted(frames))}); choose one with --topic")
    (camera,) = frames
    return replace(views, measured=Measured(part_frame or "", camera, transforms.mount(camera)))


def _shots(
    path: Path, topic: str | None, transforms: Transforms | None, part_frame: str, frames: set[str]
) -> Iterator[tuple[int, BagImage, Pose | None]]:
    """Number, image and pose of what can be used; the cameras' frames go into `frames`."""
    unknown: list[str] = []
    for i, frame in enumerate(read_images(path, topic, limit=MAX_VIEWS, guess=True)):
        if isinstance(frame.image, ImageError):
            say(f"{path}: image at {frame.stamp_ns} ns is left out: {frame.image}")
            continue
        pose = None
        if transforms is not None:
            with located(path):
                if not frame.frame_id:
                    raise InputError("the images have no frame_id, so /tf cannot say where the camera was")
                frames.add(frame.frame_id)
                try:
                    pose = transforms.lookup(frame.frame_id, part_frame, frame.stamp_ns)
                except NoTransformError as error:
                    unknown.append(f"image at {frame.stamp_ns} ns: {error}")
                    continue
        yield i, frame, pose
    if unknown:
        say(f"{path}: {len(unknown)} images are left out, as their pose is unknown; {unknown[0]}")


def _view(path: Path, number: int, frame: BagImage, pose: Pose | None, max_side: int | None) -> View:
    assert not isinstance(frame.image, ImageError)
    if pose is not None and frame.camera is None:
        raise InputError(f"{path}: no camera_info beside the images; with --part-frame the intrinsics must be known")
    with located(f"{path}: image at {frame.stamp_ns} ns"):
        camera = frame.camera or guess_camera(frame.image.shape[1], frame.image.shape[0])
        view = make_view(f"{number:06d}_{frame.stamp_ns}.png", frame.image, None, camera, pose, max_side)
    return view if frame.camera else with_guess(view)
