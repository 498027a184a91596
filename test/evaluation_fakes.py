"""A data set of coloured squares, and an inspector that knows what is wrong with them."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from model_factory import make_calibration

from pad_ros.decision.inspection import AnomalyMap, DefectKind, DefectRegion, Inspection
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.localization.cascade import TRACKED
from pad_ros.localization.result import Localization
from pad_ros.rendering.result import ReferenceRendering
from pad_ros.verdicts import Reason, Verdict

SIZE = 64
THRESHOLD = 10.0
TRUE_POSE = Pose.look_at(np.array([0.0, -4.0, 1.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]))


def write_dataset(folder, poses=True):
    """4 good images, 3 Burrs, 2 Stains. Defects are red, the stronger the brighter (60 to 200)."""
    rng = np.random.default_rng(0)
    frames = []
    for label, strengths in (("good", (0, 0, 0, 0)), ("Burrs", (60, 130, 200)), ("Stains", (90, 200))):
        for i, strength in enumerate(strengths):
            image = np.full((SIZE, SIZE, 3), 255, np.uint8)
            image[20:50, 15:50] = rng.integers(90, 110, (30, 35, 1))
            if strength:
                mask = np.zeros((SIZE, SIZE, 3), np.uint8)
                mask[30:36, 20 + 4 * i : 28 + 4 * i] = 255
                image[mask[..., 0] > 0] = (100 + strength // 2, 100 - strength // 2, 100)
                images.save(folder / f"ground_truth/{label}/{i}_mask.png", mask)
            images.save(folder / f"test/{label}/{i}.png", image)
            matrix = TRUE_POSE.to_opengl_camera_to_world().tolist()
            frames.append({"file_path": f"test/{label}/{i}.png", "transform_matrix": matrix})
    if poses:
        (folder / "test_poses.json").write_text(json.dumps({"frames": frames}))
    return folder


class FakeInspector:
    """Finds red. Holds whatever `hold` says (by call), keeps its pose 0.01 rad off the truth."""

    device = "cpu"

    def __init__(self, hold=(), threshold=THRESHOLD):
        self.model = SimpleNamespace(name="square", method="pad", hash="ab" * 32, training={}, photographs=(),
                                     calibration=replace(make_calibration(), threshold=threshold))  # fmt: skip
        self.hold, self.calls, self.expected, self.warm = set(hold), 0, 0, False

    def warm_up(self):
        self.warm = True

    def prepare(self, image, camera=None):
        return image

    def localize(self, query):
        return self.inspect(query).localization

    def render(self, query, localization):
        return None

    def score(self, query, localization, rendering):
        return None

    def inspect(self, image, camera=None, prior=None):
        self.calls += 1
        self.expected += prior is not None
        times = {"localize": 5.0, "render": 2.0, "score": 1.0, "total": 8.0}
        if self.calls in self.hold:
            lost = Localization(None, Reason.NOT_LOCALIZED, "too few matches")
            return Inspection(Verdict.HOLD, Reason.NOT_LOCALIZED, "too few <b>matches</b>", float("nan"), THRESHOLD,
                              (), lost, None, None, image, timings_ms=times)  # fmt: skip
        red = image[..., 0].astype(np.float32) - image[..., 1]
        values = np.maximum(red, 0) / 5 + (image.min(axis=2) < 200) * (image[..., 2] % 7)
        score = float(values.max())
        defects = (DefectRegion((20, 30, 8, 6), 48, score, None, DefectKind.CHANGED),) if score > THRESHOLD else ()
        alpha = (image.min(axis=2) < 200).astype(np.float32)
        camera = Camera.from_fov(SIZE, SIZE, 0.7)
        pose = TRUE_POSE.retract(np.array([0.01, 0, 0, 0, 0, 0]))
        rendering = ReferenceRendering(image.astype(np.float32) / 255, alpha, 4 * alpha,
                                       np.zeros((SIZE, SIZE, 0), np.float32), camera, pose)  # fmt: skip
        verdict, reason = (Verdict.REJECT, Reason.ANOMALY) if defects else (Verdict.PASS, Reason.NONE)
        return Inspection(verdict, reason, "one region" if defects else "as expected", score, THRESHOLD, defects,
                          Localization(pose, Reason.NONE, TRACKED.reason_text if prior else "", 40, 50), rendering,
                          AnomalyMap(values), image, timings_ms=times)  # fmt: skip
