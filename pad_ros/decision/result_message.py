"""One mapping of an inspection's fields: to plain values for JSON, and to InspectionResult for ROS and bags."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..imaging.geometry import Pose
from ..io.encodings import UNKNOWN_COVARIANCE, covariance_to_ros
from ..localization.result import Localization
from .inspection import DefectRegion, Inspection

Make = Callable[..., Any]  # make("package/msg/Type", **fields): a message of rclpy, or of rosbags
STAGES = ("localize", "render", "score", "total")


def plain_result(inspection: Inspection) -> dict[str, Any]:
    """Fields under the message's names; numbers that are not finite are None, a box is [x, y, width, height]."""
    pose = None if inspection.localization is None else inspection.localization.pose
    return {
        "verdict": inspection.verdict.name,
        "reason": inspection.reason.name,
        "reason_text": inspection.reason_text,
        "score": _number(inspection.score),
        "threshold": _number(inspection.threshold),
        "p_value": _number(inspection.p_value),
        "view_share": _number(inspection.conditions.view_share),
        "light_change": _number(inspection.conditions.light),
        "sharpness": _number(inspection.conditions.sharpness),
        "defects": [
            {"box": list(d.box), "area": d.area, "peak_score": round(d.peak_score, 4), "centroid": d.centroid,
             "kind": d.kind.name}
            for d in inspection.defects
        ],
        "camera_from_part": None if pose is None else pose.matrix.tolist(),
        "timings_ms": {stage: round(ms, 2) for stage, ms in inspection.timings_ms.items()},
    }  # fmt: skip


def result_message(make: Make, inspection: Inspection, **frame: Any) -> Any:
    """InspectionResult; `frame` gives header, part_id, model_name, model_hash and trigger_stamp."""
    return make(
        "pad_ros/msg/InspectionResult", verdict=int(inspection.verdict), reason=int(inspection.reason),
        reason_text=inspection.reason_text, score=float(inspection.score), threshold=float(inspection.threshold),
        defects=[_defect(make, defect) for defect in inspection.defects], p_value=float(inspection.p_value),
        view_share=float(inspection.conditions.view_share), light_change=float(inspection.conditions.light),
        sharpness=float(inspection.conditions.sharpness),
        pose=pose_message(make, inspection.localization),
        **{f"{stage}_ms": float(inspection.timings_ms.get(stage, 0.0)) for stage in STAGES}, **frame,
    )  # fmt: skip


def pose_message(make: Make, localization: Localization | None) -> Any:
    """PoseWithCovariance of the part in the camera's optical frame; covariance[0] = -1 where pose or covariance is
    unknown."""
    pose = None if localization is None else localization.pose
    covariance = np.zeros(36)
    covariance[0] = UNKNOWN_COVARIANCE
    if pose is not None and localization is not None and localization.covariance is not None:
        covariance = covariance_to_ros(localization.covariance, pose).ravel()
    return make("geometry_msgs/msg/PoseWithCovariance", pose=bare_pose(make, pose), covariance=covariance)


def bare_pose(make: Make, pose: Pose | None) -> Any:
    """Pose of the part in the camera's optical frame; the identity for None."""
    w, x, y, z = (1.0, 0.0, 0.0, 0.0) if pose is None else (float(v) for v in pose.quaternion())
    px, py, pz = (0.0, 0.0, 0.0) if pose is None else (float(v) for v in pose.translation)
    position = make("geometry_msgs/msg/Point", x=px, y=py, z=pz)
    orientation = make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)
    return make("geometry_msgs/msg/Pose", position=position, orientation=orientation)


def transforms(make: Make, header: Any, part_frame: str, pose: Pose) -> Any:
    """TFMessage: camera (the header's frame) -> part."""
    there = bare_pose(make, pose)
    x, y, z = (float(v) for v in pose.translation)
    moved = make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)
    transform = make("geometry_msgs/msg/Transform", translation=moved, rotation=there.orientation)
    stamped = make(
        "geometry_msgs/msg/TransformStamped", header=header, child_frame_id=part_frame, transform=transform
    )  # fmt: skip
    return make("tf2_msgs/msg/TFMessage", transforms=[stamped])


def detections(make: Make, inspection: Inspection, header: Any, part_id: str) -> Any:
    """Detection2DArray of the defects, the largest evidence first as in `defects`.

    Its scores are to lie in [0, 1]: peak / (peak + threshold), so .5 at the threshold. Ids are unique among all
    images: part_id where there is one, the image's stamp, and a number. Classes are the names of DefectKind.
    """
    name = f"{part_id}{'/' if part_id else ''}{header.stamp.sec}.{header.stamp.nanosec:09d}"
    found = []
    for number, defect in enumerate(inspection.defects, 1):
        x, y, width, height = defect.box
        score = 1 / (1 + inspection.threshold / defect.peak_score)
        hypothesis = make("vision_msgs/msg/ObjectHypothesis", class_id=defect.kind.name, score=float(score))
        result = make("vision_msgs/msg/ObjectHypothesisWithPose", hypothesis=hypothesis, pose=pose_message(make, None))
        middle = make("vision_msgs/msg/Point2D", x=x + width / 2, y=y + height / 2)
        centre = make("vision_msgs/msg/Pose2D", position=middle, theta=0.0)
        box = make("vision_msgs/msg/BoundingBox2D", center=centre, size_x=float(width), size_y=float(height))
        found.append(
            make("vision_msgs/msg/Detection2D", header=header, results=[result], bbox=box, id=f"{name}/{number}")
        )
    return make("vision_msgs/msg/Detection2DArray", header=header, detections=found)


def _defect(make: Make, defect: DefectRegion) -> Any:
    x, y, width, height = (int(v) for v in defect.box)
    cx, cy, cz = (float(v) for v in defect.centroid or (math.nan,) * 3)
    box = make("sensor_msgs/msg/RegionOfInterest", x_offset=x, y_offset=y, width=width, height=height, do_rectify=False)
    return make(
        "pad_ros/msg/DefectRegion", box=box, centroid=make("geometry_msgs/msg/Point", x=cx, y=cy, z=cz),
        peak_score=float(defect.peak_score), area=int(defect.area), kind=defect.kind.value,
    )  # fmt: skip


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
