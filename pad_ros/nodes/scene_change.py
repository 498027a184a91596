"""scene_change: what a robot sees on its round, beside the scene as it is known: masks, places and kinds of changes."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geometry_msgs.msg import Point, Pose, PoseArray, Quaternion
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header, String

from ..changes.compare import changes_of
from ..changes.known_scene import KnownScene, Seen
from ..errors import ImageError, InputError, PadError
from ..imaging.images import Image
from ..model import ReferenceModel
from ..rendering.device import resolve_device
from .support.camera_infos import CameraInfos
from .support.convert import compressed_to_rgb, image_to_rgb, mask_to_image
from .support.health import Reporter, graded
from .support.limits import TooLarge, bounded_image
from .support.parameter_tables import NODES
from .support.parameters import Parameters, as_parameters
from .support.qos import image_topic, latched, reliable, watched_subscription
from .support.spin import run
from .support.stages import stamp_ns
from .support.worker import Worker

LARGER = 4  # times the pixels of the model's camera that an image may have


def load_scene(path: Path, device: str) -> KnownScene:
    """The scene of a model that `pad train --part scene` wrote."""
    return KnownScene.of_model(ReferenceModel.load(path), resolve_device(device))


class SceneChangeNode(Node):
    """Looks at the newest image, as often as it can, and compares the last `views` of them with the scene together.

    An image that is not found in the scene counts as `not_found` in /diagnostics and gets no answer: nothing is said of
    what was not seen. InputError for a wrong parameter or model.
    """

    def __init__(self, *, load: Callable[[Path, str], KnownScene] = load_scene,
                 overrides: dict[str, object] | None = None, namespace: str = "") -> None:  # fmt: skip
        super().__init__("scene_change", parameter_overrides=as_parameters(overrides), namespace=namespace)
        self.parameters = p = Parameters(self, NODES["scene_change"])
        if not p["model"]:
            raise InputError("parameter model: the folder of a model is needed (pad train --part scene)")
        self._known = load(Path(p["model"]), p["device"])
        self._seen: deque[Seen] = deque(maxlen=p["views"])
        self.health = SceneHealth(self)
        self._masks = self.create_publisher(ImageMsg, "change_mask", reliable(5))
        self._places = self.create_publisher(PoseArray, "changes", latched())
        self._kinds = self.create_publisher(String, "change_list", latched())
        self._worker = Worker(1, self._on_error)
        self._infos = CameraInfos(self, p)
        kind, topic, qos = image_topic(p, 1)
        self._infos.open(qos.reliability)
        watched_subscription(self, kind, topic, self._on_image, qos, "image")

    @property
    def _max_pixels(self) -> int:
        return LARGER * self._known.camera.width * self._known.camera.height

    def describe(self) -> str:
        return f"compares with the scene of {self.parameters['model']}"

    def close(self) -> None:
        self._worker.close()
        self.destroy_node()

    def _on_image(self, msg: ImageMsg | CompressedImage) -> None:
        bounded = bounded_image(msg, self._max_pixels)
        if self._worker.replace(lambda: self._look(bounded)):
            self.health.count("skipped")

    def _look(self, msg: ImageMsg | CompressedImage | TooLarge) -> None:
        """Runs in the worker's thread."""
        stamp = stamp_ns(msg.header.stamp)
        found = self._known.find(str(stamp), self._decoded(msg), self._infos.camera(stamp))
        if isinstance(found, str):
            self.health.count("not_found")
            self.health.warn("not_found", f"the last image was not found in the scene: {found}")
            return
        self.health.warn("not_found", "")
        self._seen.append(found)
        result = changes_of(self._known, list(self._seen))
        self.health.count("compared")
        header = Header(stamp=msg.header.stamp, frame_id=self.parameters["scene_frame"])
        self._masks.publish(mask_to_image(result.shown[-1].mask, msg.header))
        poses = [Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))
                 for x, y, z in (change.place for change in result.changes)]  # fmt: skip
        self._places.publish(PoseArray(header=header, poses=poses))
        self._kinds.publish(String(data=json.dumps([vars(change) for change in result.changes])))

    def _decoded(self, msg: ImageMsg | CompressedImage | TooLarge) -> Image:
        if isinstance(msg, TooLarge):
            raise ImageError(msg.text)
        return compressed_to_rgb(msg, self._max_pixels) if isinstance(msg, CompressedImage) else image_to_rgb(msg)

    def _on_error(self, error: Exception) -> None:
        self.health.count("failed")
        text = str(error) if isinstance(error, PadError) else f"{type(error).__name__}: {error}"
        self.get_logger().error(f"image left out: {text}")


class SceneHealth(Reporter):
    """/diagnostics of the node."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, "scene")

    def status(self) -> tuple[bytes, str, dict[str, Any]]:
        return *graded([], self.warnings(), "comparing"), dict(self._counts)


def main() -> int:
    return run(SceneChangeNode)


if __name__ == "__main__":
    sys.exit(main())
