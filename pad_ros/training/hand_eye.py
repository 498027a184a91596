"""Measured poses against those that the images show: the frame and scale of the measured ones, and a hand-eye error.

A camera that is not where the robot believes is off by the same motion in every view, in the camera's frame. That is
told from the noise of single poses, and from a part that lies elsewhere than believed, as the views look from all
around (Tsai and Lenz 1989 solve for the whole of it; here only what is left of it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from ..imaging.geometry import Array, Pose
from ..imaging.views import Measured
from .view_matching import focus_point

USUAL_TURN, USUAL_SHIFT = 5.0, 0.02  # degrees and share of the distance: hand-eye errors are smaller
CERTAIN = 8.0  # F value of the six numbers of a hand-eye error: by chance it is 3 once in a hundred times
MIN_TURN, MIN_SHIFT = 0.1, 0.002  # degrees and share of the distance: less than this is not worth a word
MIN_VIEWS = 8
NO_ERROR = np.zeros(6)


@dataclass(frozen=True, eq=False)
class Agreement:
    """poses: those that the images show, in the frame and scale of the measured ones. degrees, metres: by how much a
    measured pose is off (root mean square). offset: hand-eye error [6], the rotation vector (rad) from the believed to
    the true camera, and the true camera's place (m) in the believed one's axes; None where none can be told."""

    poses: tuple[Pose, ...]
    degrees: float
    metres: float
    offset: Array | None

    def describe(self, frame: Measured) -> str:
        text = f"measured poses are off by {self.degrees:.2f} degrees and {1000 * self.metres:.1f} mm each"
        if self.offset is None:
            return text
        vector = np.degrees(self.offset[:3])
        shift = 1000 * self.offset[3:]
        link = f"{frame.mount} -> {frame.camera}" if frame.mount != frame.camera else (frame.camera or "the camera")
        return (
            f"{text}; warning: the hand-eye calibration ({link}) is wrong by {np.linalg.norm(vector):.2f} degrees and "
            f"{float(np.linalg.norm(shift)):.1f} mm: the camera is at {_triple(shift)} mm and turned by "
            f"{_triple(vector)} degrees, in the axes of the camera as /tf has it; the model is corrected for it, "
            "calibrate the robot's camera anew"
        )


def agree(found: Sequence[Pose], measured: Sequence[Pose]) -> Agreement | None:
    """How the poses that images show lie to the measured ones of the same views. None where the views are too few, or
    from one place.

    Both are camera_from_part; the found ones in any frame and scale. The measured ones in metres.
    """
    if len(found) < MIN_VIEWS:
        return None
    start = pycolmap.estimate_sim3d(np.array([p.centre for p in found]), np.array([p.centre for p in measured]))
    if start is None:
        return None
    begin = np.array([*Rotation.from_matrix(start.rotation.matrix()).as_rotvec(), *start.translation,
                      math.log(start.scale)])  # fmt: skip
    problem = _Problem(found, measured)
    distance = problem.distance
    plain = _solved(problem.residuals, begin)
    both = _solved(lambda x: problem.with_prior(x[:7], x[7:]), np.concatenate([plain, NO_ERROR]))
    without, having = problem.residuals(plain), problem.residuals(both[:7], both[7:])
    freedom = len(having) - len(both)
    certainty = (float(without @ without - having @ having) / 6) / max(float(having @ having) / freedom, 1e-30)
    large = (
        np.linalg.norm(both[7:10]) > math.radians(MIN_TURN) or np.linalg.norm(both[10:]) > MIN_SHIFT * distance
    )  # fmt: skip
    told = certainty > CERTAIN and bool(large)
    chosen, left = (both[:7], having) if told else (plain, without)
    turn, shift = np.sqrt((left.reshape(-1, 2, 3) ** 2).sum(axis=2).mean(axis=0))
    poses = tuple(_moved(pose, chosen) for pose in found)
    return Agreement(poses, math.degrees(turn / distance), float(shift), both[7:] if told else None)


class _Problem:
    """What is left between found and measured poses, whatever similarity and hand-eye error are assumed."""

    def __init__(self, found: Sequence[Pose], measured: Sequence[Pose]) -> None:
        self._found, self._measured = (np.stack([pose.rotation for pose in poses]) for poses in (found, measured))
        self._centres, self._measured_centres = (np.stack([p.centre for p in poses]) for poses in (found, measured))
        # By it an angle is a length: m, from the cameras to what they look at.
        focus = focus_point(self._measured[:, 2], self._measured_centres)
        self.distance = max(float(np.median(np.linalg.norm(self._measured_centres - focus, axis=1))), 1e-9)

    def residuals(self, similarity: Array, hand_eye: Array = NO_ERROR) -> Array:
        """[6 V] metres: of each view the rotation, then the place, in the camera's axes."""
        turn, offset = (Rotation.from_rotvec(vector[:3]).as_matrix() for vector in (similarity, hand_eye))
        rotations = offset @ self._measured
        turns = Rotation.from_matrix(self._found @ turn.T @ rotations.transpose(0, 2, 1)).as_rotvec()
        centres = math.exp(similarity[6]) * self._centres @ turn.T + similarity[3:6]
        believed = self._measured_centres + np.einsum("vji,j->vi", self._measured, hand_eye[3:])
        apart = np.einsum("vij,vj->vi", rotations, centres - believed)
        return np.concatenate([self.distance * turns, apart], axis=1).ravel()

    def with_prior(self, similarity: Array, hand_eye: Array) -> Array:
        """And what a hand-eye error costs: views that all look at one point from one distance do not tell it from
        another scale."""
        found = self.residuals(similarity, hand_eye)
        usual = np.array([math.radians(USUAL_TURN)] * 3 + [USUAL_SHIFT * self.distance] * 3)
        noise = math.sqrt(float(np.median(found**2)))
        return np.concatenate([found, noise * hand_eye / usual])


def _solved(residuals: Callable[[Array], Array], begin: Array) -> Array:
    # Steps from zero: SciPy's first trust region is as large as what it begins with, which may be next to nothing.
    steps = least_squares(lambda step: residuals(begin + step), np.zeros_like(begin), x_scale="jac").x
    return np.asarray(begin + steps)


def _moved(pose: Pose, similarity: Array) -> Pose:
    """The pose, in a frame that is turned, moved and scaled by a similarity [7]."""
    turn = Rotation.from_rotvec(similarity[:3]).as_matrix()
    centre = math.exp(similarity[6]) * turn @ pose.centre + similarity[3:6]
    rotation = pose.rotation @ turn.T
    return Pose.from_rt(rotation, -rotation @ centre)


def _triple(vector: Array) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in vector) + ")"
