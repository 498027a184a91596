"""A bag as a robot records it: its camera stops around a part, and /tf says where the robot believes it to be.

world -> base_link (fixed) -> tool0 (moves) -> camera_optical_frame (fixed); world -> fixture (fixed), the part.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bag_files import SECOND, make, write_bag

from pad_ros.imaging.geometry import Camera, Pose

CAMERA_FRAME, FIXTURE = "camera_optical_frame", "fixture"
STEP, BETWEEN = SECOND, SECOND // 4  # from stop to stop, and between two transforms
ANGLE = np.radians(0.3)  # noise of the robot's poses,
SHIFT = 0.002  # m
HAND_EYE = Pose.look_at(np.array([0.03, -0.01, 0.06]), np.array([0.05, 0.0, 1.0]), np.array([0, 1.0, 0]))
BASE = Pose.look_at(np.array([0.5, 0.2, 0.1]), np.array([1.5, 0.3, 0.1]), np.array([0, 0, 1.0]))  # base_from_world
FIXTURE_POSE = Pose.look_at(
    np.array([1.0, 0.4, 0.2]), np.array([1.0, 0.4, 1.2]), np.array([0, 1.0, 0])
)  # fixture_from_world
BEGIN = 50 * SECOND
EXACT = Pose.identity()


def transform(parent: str, child: str, parent_from_child: Pose, stamp_ns: int = 0) -> Any:
    w, x, y, z = (float(v) for v in parent_from_child.quaternion())
    tx, ty, tz = (float(v) for v in parent_from_child.translation)
    stamp = make("builtin_interfaces/msg/Time", sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
    return make(
        "geometry_msgs/msg/TransformStamped", header=make("std_msgs/msg/Header", stamp=stamp, frame_id=parent),
        child_frame_id=child,
        transform=make(
            "geometry_msgs/msg/Transform", translation=make("geometry_msgs/msg/Vector3", x=tx, y=ty, z=tz),
            rotation=make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        ),
    )  # fmt: skip


def tf(*transforms: Any) -> Any:
    return make("tf2_msgs/msg/TFMessage", transforms=list(transforms))


def stamp_of(view: int) -> int:
    """Between two transforms, so that interpolation has something to do."""
    return BEGIN + view * STEP + BETWEEN // 2


def robot_transforms(poses: Sequence[Pose], off: Pose = EXACT, noise: float = 1.0) -> list[tuple[str, Any]]:
    """(topic, TFMessage) for true camera poses (camera_from_part, m); off: true camera from the believed one."""
    rng = np.random.default_rng(7)
    fixed = tf(
        transform("world", "base_link", BASE.inverse()), transform("world", FIXTURE, FIXTURE_POSE.inverse()),
        transform("tool0", CAMERA_FRAME, HAND_EYE.inverse()),
    )  # fmt: skip
    messages = [("/tf_static", fixed)]
    for i, pose in enumerate(poses):
        spread = noise * np.array([ANGLE] * 3 + [SHIFT] * 3) / np.sqrt(3)
        believed = (off.inverse() @ pose).retract(rng.normal(size=6) * spread)
        base_from_tool = BASE @ FIXTURE_POSE.inverse() @ believed.inverse() @ HAND_EYE
        for at in (BEGIN + i * STEP, BEGIN + i * STEP + BETWEEN):
            messages.append(("/tf", tf(transform("base_link", "tool0", base_from_tool, at))))
    return messages


def images_of(draw: Callable[[Pose], np.ndarray], poses: Sequence[Pose], camera: Camera) -> list[tuple[str, Any]]:
    """(topic, message) of images, each with its camera_info."""
    messages: list[tuple[str, Any]] = []
    for i, pose in enumerate(poses):
        stamp = make("builtin_interfaces/msg/Time", sec=stamp_of(i) // SECOND, nanosec=stamp_of(i) % SECOND)
        header = make("std_msgs/msg/Header", stamp=stamp, frame_id=CAMERA_FRAME)
        roi = make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        K = camera.K
        K[:2, 2] -= 0.5  # ROS counts pixel centres from 0
        info = make(
            "sensor_msgs/msg/CameraInfo", header=header, height=camera.height, width=camera.width,
            distortion_model="plumb_bob", d=np.zeros(5), k=K.ravel(), r=np.eye(3).ravel(), p=np.zeros(12), binning_x=0,
            binning_y=0, roi=roi,
        )  # fmt: skip
        shown = np.ascontiguousarray(draw(pose))
        image = make(
            "sensor_msgs/msg/Image", header=header, height=camera.height, width=camera.width, encoding="rgb8",
            is_bigendian=0, step=3 * camera.width, data=shown.ravel(),
        )  # fmt: skip
        messages += [("/camera/camera_info", info), ("/camera/image_raw", image)]
    return messages


def robot_bag(path: Path, images: list[tuple[str, Any]], transforms: list[tuple[str, Any]]) -> Path:
    return write_bag(path, [*transforms, *images])


def in_metres(pose: Pose, unit: float) -> Pose:
    """The pose in a part frame whose unit was `unit` m."""
    return Pose.from_rt(pose.rotation, unit * pose.translation)
