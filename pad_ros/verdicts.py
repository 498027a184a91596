"""Verdicts, the reasons behind them, and which error leads to which reason.

The numbers are those of pad_ros/msg/InspectionResult.
"""

from __future__ import annotations

from enum import IntEnum

from .errors import CameraError, ImageError, PadError, SceneError


class Verdict(IntEnum):
    """HOLD = no trustworthy answer; a line treats it as reject."""

    HOLD = 0
    PASS = 1
    REJECT = 2


class Reason(IntEnum):
    """Why a verdict is what it is. 0 belongs to PASS, 1 to REJECT, all others to HOLD."""

    NONE = 0
    ANOMALY = 1
    BAD_IMAGE = 10  # undecodable, truncated, wrong encoding or size
    NO_CONTENT = 11  # black, white or uniform image
    CAMERA_MISMATCH = 12  # intrinsics missing, or another aspect ratio than the image
    SCENE_MISMATCH = 13  # region of interest or views of the empty cell do not fit the image
    NOT_LOCALIZED = 20  # too few features or matches, PnP found no pose
    WEAK_POSE = 21  # a pose, but inliers, inlier share or residual fail the gates
    OUTSIDE_COVERAGE = 22  # the reference views do not cover this viewpoint
    POOR_RENDERING = 23  # the model renders this viewpoint badly
    SEVERAL_PARTS = 24  # two parts in view, and no region of interest that shows which is meant
    PARTIAL_VIEW = 25  # too little of the part is in the picture
    LIGHT = 26  # light or exposure beyond what was calibrated; other light or noise, and near the threshold
    RESOLUTION = 27  # the part has too few pixels
    BLUR = 28  # interlaced, or less sharp than good views; a little less sharp or compressed, and near the threshold
    UNCALIBRATED = 30  # the model has no threshold
    NO_MODEL = 31  # no model loaded, or it is being changed
    TIMEOUT = 40  # no verdict within the deadline
    DROPPED = 41  # the image never arrived, or the queue was full
    BAD_STAMP = 42  # a stamp is missing, too old or in the future; or stamps do not show which image is the trigger's
    FROZEN = 43  # the same pixels as in the image before: the camera repeats itself
    INTERNAL_ERROR = 50  # an exception in a stage


# The first that fits counts.
REASONS: tuple[tuple[type[PadError], Reason], ...] = (
    (ImageError, Reason.BAD_IMAGE),
    (CameraError, Reason.CAMERA_MISMATCH),
    (SceneError, Reason.SCENE_MISMATCH),
)


def reason_of(error: Exception, stage: str = "") -> tuple[Reason, str]:
    """Reason and text of the HOLD that an exception in a stage leads to."""
    for kind, reason in REASONS:
        if isinstance(error, kind):
            return reason, str(error)
    text = f"{type(error).__name__}: {error}"
    return Reason.INTERNAL_ERROR, f"{stage}: {text}" if stage else text
