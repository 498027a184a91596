"""Frames and results as messages, and back."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import Pose as PoseMsg
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import ColorRGBA

from pad_ros.msg import InspectionResult, LocalizedView, ReferenceView

from ...decision.inspection import Inspection
from ...decision.result_message import bare_pose, pose_message, result_message
from ...errors import ImageError
from ...imaging.geometry import Camera, Pose
from ...imaging.images import Image
from ...imaging.rect import Rect
from ...io.encodings import UNKNOWN_COVARIANCE, covariance_from_ros
from ...localization.result import Localization
from ...rendering.result import ReferenceRendering
from ...verdicts import Reason
from .convert import (
    camera_from_info,
    camera_to_info,
    floats_to_image,
    image_to_floats,
    image_to_photograph,
    image_to_rgb,
    photograph_to_image,
    rgb_to_image,
)
from .stages import Frame, stamp_msg, stamp_ns

if TYPE_CHECKING:
    from ...model import ReferenceModel


def pose_from_msg(msg: PoseMsg) -> Pose:
    """InputError where the quaternion has no length or a value is not finite."""
    q, t = msg.orientation, msg.position
    return Pose.from_quaternion(np.array([q.w, q.x, q.y, q.z]), np.array([t.x, t.y, t.z]))


def make(kind: str, /, **fields: Any) -> Any:
    """A message such as "geometry_msgs/msg/Point" with these fields."""
    return message_class(kind)(**fields)


@cache
def message_class(kind: str) -> Any:
    """ImportError where its package is not installed."""
    package, _, name = kind.split("/")
    return getattr(import_module(f"{package}.msg"), name)


def frame_to_localized(frame: Frame) -> LocalizedView:
    localization = frame.localization
    return LocalizedView(
        header=frame.header,
        part_id=frame.part_id,
        model_hash=frame.model_hash,
        accepted_ns=frame.accepted_ns,
        clock_id=frame.clock_id,
        image=ImageMsg(header=frame.header) if frame.image is None else rgb_to_image(frame.image, frame.header),
        camera_info=_camera_info(frame),
        localized=localization.localized,
        reason=int(localization.reason),
        reason_text=localization.reason_text,
        pose=pose_message(make, localization),
        rendered_from=bare_pose(make, localization.rendered_from or localization.pose),
        inliers=localization.inliers,
        matches=localization.matches,
        residual_px=float(localization.residual_px),
        localize_ms=frame.localize_ms,
        trigger_stamp=stamp_msg(frame.trigger_ns),
    )


def frame_from_localized(msg: LocalizedView) -> Frame:
    """InputError or ValueError where the message contradicts itself."""
    pose = covariance = rendered_from = None
    if msg.localized:
        pose, rendered_from = pose_from_msg(msg.pose.pose), pose_from_msg(msg.rendered_from)
        if msg.pose.covariance[0] != UNKNOWN_COVARIANCE:
            covariance = covariance_from_ros(np.asarray(msg.pose.covariance).reshape(6, 6), pose)
    localization = Localization(
        pose, Reason(msg.reason), msg.reason_text, msg.inliers, msg.matches, msg.residual_px, covariance,
        rendered_from=rendered_from,
    )  # fmt: skip
    image = image_to_rgb(msg.image) if msg.image.width else None
    return _frame(msg, localization, image, camera_from_info(msg.camera_info))


def frame_to_reference(frame: Frame) -> ReferenceView:
    msg = ReferenceView(view=frame_to_localized(frame), render_ms=frame.render_ms)
    rendering = frame.rendering
    if rendering is None:
        return msg
    for name in ("rgb", "alpha", "depth", *(["features"] if rendering.features.shape[2] else [])):
        setattr(msg, name, floats_to_image(getattr(rendering, name), frame.header))
    msg.photographs = [
        photograph_to_image(colours, seen, frame.header)
        for colours, seen in zip(rendering.photographs, rendering.seen, strict=True)
    ]
    msg.camera_info = camera_to_info(rendering.camera, frame.header)
    msg.pose = bare_pose(make, rendering.pose)
    red, green, blue = rendering.background_colour
    msg.background = ColorRGBA(r=float(red), g=float(green), b=float(blue), a=1.0)
    if rendering.window is not None:
        x, y, width, height = rendering.window.xywh
        msg.window = RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height, do_rectify=True)
    return msg


def frame_from_reference(msg: ReferenceView) -> Frame:
    """InputError or ValueError where the message contradicts itself."""
    frame = frame_from_localized(msg.view)
    if not msg.view.localized:
        return replace(frame, render_ms=msg.render_ms)
    camera = camera_from_info(msg.camera_info)
    if camera is None:
        raise ImageError("reference view: a pose, but no rendering")
    alpha = image_to_floats(msg.alpha)
    features = np.zeros((*alpha.shape, 0), np.float32)
    if msg.features.width:
        features = image_to_floats(msg.features).reshape(*alpha.shape, -1)
    rgb, depth = image_to_floats(msg.rgb), image_to_floats(msg.depth)
    if rgb.shape != (camera.height, camera.width, 3) or not alpha.shape == depth.shape == rgb.shape[:2]:
        raise ImageError(
            f"reference view: images of sizes {rgb.shape}, {alpha.shape}, {depth.shape} do not belong together"
        )
    photographs = [image_to_photograph(image) for image in msg.photographs]
    if any(seen.shape != alpha.shape for _, seen in photographs):
        raise ImageError("reference view: photographs and rendering differ in size")
    window, background = msg.window, msg.background
    corner = window.x_offset, window.y_offset
    rendering = ReferenceRendering(
        rgb, alpha, depth, features, camera, pose_from_msg(msg.pose),
        np.array([colours for colours, _ in photographs], np.uint8).reshape(-1, *alpha.shape, 3),
        np.array([seen for _, seen in photographs], np.bool_).reshape(-1, *alpha.shape),
        window=Rect(*corner, corner[0] + window.width, corner[1] + window.height) if window.do_rectify else None,
        background_colour=(background.r, background.g, background.b),
    )  # fmt: skip
    return replace(frame, rendering=rendering, render_ms=msg.render_ms)


def header_only(view: LocalizedView, reason: Reason, text: str) -> Frame:
    """What can be saved of a view that cannot be used: enough for one HOLD."""
    return _frame(view, Localization(None, reason, text), None, None)


def result_msg(inspection: Inspection, frame: Frame, model: ReferenceModel | None) -> InspectionResult:
    return result_message(
        make, inspection, header=frame.header, part_id=frame.part_id, trigger_stamp=stamp_msg(frame.trigger_ns),
        model_name="" if model is None else model.name, model_hash="" if model is None else model.hash,
    )  # fmt: skip


def _camera_info(frame: Frame) -> CameraInfo:
    return CameraInfo(header=frame.header) if frame.camera is None else camera_to_info(frame.camera, frame.header)


def _frame(view: LocalizedView, localization: Localization, image: Image | None, camera: Camera | None) -> Frame:
    return Frame(
        view.header, view.part_id, view.accepted_ns, view.clock_id, view.model_hash, image, camera, localization,
        localize_ms=view.localize_ms, trigger_ns=stamp_ns(view.trigger_stamp),
    )  # fmt: skip
