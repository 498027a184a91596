"""An Inspector without a model behind it, and a script that runs the real nodes with it.

What it answers depends on the image's mean red: below 5 nothing is there (NOT_LOCALIZED), 150 and
more is a defect, 250 and more makes `score` raise. Bundles are folders with a file `name`.
"""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from pad_ros.decision.inspection import AnomalyMap, Conditions, DefectKind, DefectRegion, Inspection
from pad_ros.errors import CameraError, ModelError
from pad_ros.imaging.background import Background
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.imaging.scene import Scene
from pad_ros.localization.result import Localization
from pad_ros.photometry.prepared_query import PreparedQuery
from pad_ros.rendering.result import ReferenceRendering
from pad_ros.verdicts import Reason, Verdict

CAMERA = Camera(64, 48, 60.0, 61.0, 31.0, 25.0)
POSE = Pose.look_at(np.array([1.0, 2.0, 3.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]), roll=0.3)
COVARIANCE = np.diag([1e-6, 2e-6, 3e-6, 1e-4, 2e-4, 3e-4])
THRESHOLD = 1.0


class FakeInspector:
    device = "cpu"

    def __init__(self, name: str, scene: Scene | None = None) -> None:
        self.scene = scene
        self.model = SimpleNamespace(
            name=name, hash=f"{name}-hash", calibration=None, gaussians=None, background=None, camera=CAMERA,
            sfm_map=SimpleNamespace(poses=()), max_query_pixels=64_000_000,
        )  # fmt: skip

    @staticmethod
    def load(path: Path, device: str, scene: Scene | None = None) -> "FakeInspector":
        if not (path / "name").is_file():
            raise ModelError(f"{path}: not a reference model (no manifest); make one with `pad train`")
        return FakeInspector((path / "name").read_text(), scene)

    def warm_up(self) -> None:
        pass

    def query_camera(self, image, camera):
        camera = camera or CAMERA
        if image.shape[:2] != (camera.height, camera.width):
            raise CameraError(f"the image is {image.shape}, the camera {camera.width}x{camera.height}")
        return camera

    def prepare(self, image, camera=None):
        return PreparedQuery(image, self.query_camera(image, camera), Background(None, 0.0))

    def localize(self, query, prior=None):
        if query.image[..., 0].mean() < 5:
            return Localization(None, Reason.NOT_LOCALIZED, "nothing there", matches=3)
        return Localization(POSE, Reason.NONE, "", 40, 50, 0.5, COVARIANCE)

    def render(self, query, localization):
        camera = query.camera
        shape = (camera.height, camera.width)
        rgb = np.full((*shape, 3), 0.5, np.float32)
        alpha = np.zeros(shape, np.float32)
        alpha[10:30, 20:40] = 1
        features = np.stack([alpha, 2 * alpha], axis=-1)
        return ReferenceRendering(rgb, alpha, 3 * alpha, features, camera.pinhole(), localization.pose)

    def score(self, query, localization, rendering):
        image = query.image
        red = image[..., 0].mean()
        if red >= 250:
            raise RuntimeError("a bug in the scorer")
        score = red / 150 * THRESHOLD
        values = np.zeros(image.shape[:2], np.float32)
        values[12:16, 22:28] = score
        bad = score >= THRESHOLD
        defects = (DefectRegion((22, 12, 6, 4), 24, float(score), (0.1, 0.2, 0.3), DefectKind.ADDED),) if bad else ()
        verdict, reason = (Verdict.REJECT, Reason.ANOMALY) if bad else (Verdict.PASS, Reason.NONE)
        return Inspection(
            verdict, reason, f"score {score:.2f}", float(score), THRESHOLD, defects, localization, rendering,
            AnomalyMap(values), image, p_value=0.5, conditions=Conditions(sharpness=1.0),
        )  # fmt: skip


def write_bundle(folder: Path, name: str = "fake") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(name)
    return folder


if __name__ == "__main__":  # fake_inspector.py NODE --ros-args ...
    from pad_ros.nodes.support.spin import run

    node = sys.argv[1]
    module = importlib.import_module(f"pad_ros.nodes.{node}")
    sys.exit(run(lambda: getattr(module, f"{node.capitalize()}Node")(load=FakeInspector.load)))
