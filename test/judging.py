"""Queries judged at a known pose, without localization."""

from dataclasses import fields, replace

import cv2
import numpy as np
from model_factory import make_calibration
from splat_scenes import CAMERA, WHITE, orbit

from pad_ros.comparison.calibrated import CalibratedComparison
from pad_ros.comparison.state import ComparisonState
from pad_ros.decision.conditions import Conditions
from pad_ros.decision.inspection import Inspection
from pad_ros.decision.judge import anomaly_map, judge, unjudgeable
from pad_ros.localization.result import Localization
from pad_ros.photometry.ground import on_ground
from pad_ros.photometry.prepared_query import PreparedQuery
from pad_ros.settings import ScoringSettings
from pad_ros.verdicts import Reason

POSE = orbit(7)[1]
LOCALIZATION = Localization(POSE, Reason.NONE, "", 50, 60, 0.5)
COMPARISON = CalibratedComparison(ScoringSettings())
SIZE = CAMERA.width
IN_STATE = {field.name for field in fields(ComparisonState)}


def changed(calibration, **values):
    """The calibration with other values, those of its comparison's state included."""
    state = {name: value for name, value in values.items() if name in IN_STATE}
    rest = {name: value for name, value in values.items() if name not in IN_STATE}
    return replace(calibration, state=replace(calibration.state, **state), **rest)


def flat_calibration(gaussians=1500, **values):
    """What is expected is the same all over the part."""
    return changed(
        make_calibration(gaussians),
        **{
            "residual_mean": np.full((gaussians, 1), 0.02, np.float32),
            "rarity": np.full(gaussians, 0.1, np.float32),
            "scores": np.linspace(0.5, 1.5, 19).astype(np.float32),
            "threshold": 2.0, "deviation": (0.02,), "off_part": (0.0,), "scale": 1.0, **values,
        },
    )  # fmt: skip


def map_of(image, rendering, calibration, comparison=COMPARISON, camera=CAMERA, empty=()):
    query = PreparedQuery(image, camera, WHITE, tuple(empty))
    return anomaly_map(comparison.evidence(query, rendering, calibration.state), query, calibration)


def verdict_of(image, rendering, calibration, comparison=COMPARISON, camera=CAMERA, empty=()):
    """As the Inspector scores it."""
    if problem := unjudgeable(calibration, rendering):
        return Inspection.hold(*problem)
    query = PreparedQuery(image, camera, WHITE, tuple(empty))
    evidence = comparison.evidence(query, rendering, calibration.state)
    return judge(query, LOCALIZATION, rendering, evidence, Conditions(), calibration, 0.0)


def belt(seed=0):
    """Grey slats with dark gaps and a rough surface, 0..1."""
    rng = np.random.default_rng(seed)
    rough = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE)).astype(np.float32), (0, 0), 1.0) * 0.08
    y, x = np.mgrid[:SIZE, :SIZE]
    grey = 0.45 + rough + 0.05 * np.sin(x / 30)
    grey[(x + y // 3) % 23 < 2] *= 0.3
    return np.repeat(grey[..., None], 3, axis=2).clip(0, 1).astype(np.float32)


def query_of(rendering, ground):
    return on_ground(rendering, ground, WHITE).rgb8


def corner(rendering, size=5):
    """A place beside the part and near it, and one on it: (x, y) each."""
    away = cv2.distanceTransform((rendering.alpha < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    inside = cv2.distanceTransform((rendering.alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    beside = np.argwhere(np.abs(away - size) < 0.6)[0]
    middle = np.unravel_index(inside.argmax(), inside.shape)
    return (int(beside[1]), int(beside[0])), (int(middle[1]), int(middle[0]))
