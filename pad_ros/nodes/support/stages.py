"""The three stages as the nodes run them: frames in, frames out, and every failure a HOLD with its reason.

A Frame goes from stage to stage by reference inside `cell`, and as LocalizedView and ReferenceView
between processes. A frame that failed travels on without a pose, so that it ends in one result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from ...decision.inspection import Inspection
from ...errors import ImageError
from ...imaging.geometry import Camera
from ...imaging.images import Image
from ...localization.result import Localization
from ...rendering.result import ReferenceRendering
from ...verdicts import Reason, Verdict, reason_of
from .convert import compressed_to_rgb, image_to_rgb
from .limits import TooLarge, bounded_image

if TYPE_CHECKING:
    from ...inspector import Inspector
    from ...photometry.prepared_query import PreparedQuery


@cache
def clock_id() -> str:
    """Names the steady clock of this machine: `accepted_ns` means nothing on another one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def stamp_ns(stamp: Time) -> int:
    """A stamp in nanoseconds."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def stamp_msg(nanoseconds: int) -> Time:
    """The reverse of `stamp_ns`."""
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


@dataclass(frozen=True, eq=False)
class Query:
    """One accepted frame as it came in. message None: the image that a trigger asked for never arrived."""

    message: ImageMsg | CompressedImage | TooLarge | None
    header: Header
    part_id: str = ""
    accepted_ns: int = 0  # time.monotonic_ns()
    trigger_ns: int = 0  # stamp of the trigger that asked for it


@dataclass(frozen=True, eq=False)
class Frame:
    """One accepted frame between the stages. image and camera are None where they are unusable.

    query: the two prepared for the stages, handed on inside one process; another process prepares them again.
    """

    header: Header
    part_id: str
    accepted_ns: int
    clock_id: str
    model_hash: str
    image: Image | None
    camera: Camera | None  # raw: as the image, with distortion
    localization: Localization
    rendering: ReferenceRendering | None = None
    query: PreparedQuery | None = None
    localize_ms: float = 0.0
    render_ms: float = 0.0
    trigger_ns: int = 0  # stamp of the trigger that asked for it

    @property
    def why_held(self) -> str:
        """Why the frame will be HOLD; "" where nothing is known that makes it one."""
        found = self.localization
        return "" if found.pose is not None else f"{found.reason.name}: {found.reason_text}"

    def failed(self, reason: Reason, text: str) -> Frame:
        """The same frame without pose and rendering."""
        return replace(self, localization=Localization(None, reason, text), rendering=None)


def rejected(query: Query, reason: Reason, text: str) -> Frame:
    """The frame of a query that is not even looked at."""
    return Frame(
        query.header, query.part_id, query.accepted_ns, clock_id(), "", None, None, Localization(None, reason, text),
        trigger_ns=query.trigger_ns,
    )  # fmt: skip


def localize(
    inspector: Inspector | None, query: Query, camera: Callable[[], Camera | None], prior: Localization | None = None
) -> Frame:
    """Decode and localize. `camera` gives the raw intrinsics (None: the model's own) or raises InputError.

    prior: what was found in the frame before.
    """
    if inspector is None:
        return rejected(query, Reason.NO_MODEL, "no reference model is loaded")
    image: Image | None = None
    used: Camera | None = None
    prepared: PreparedQuery | None = None
    began = time.perf_counter()
    try:
        image = decoded(query, inspector.model.max_query_pixels)
        used = inspector.query_camera(image, camera())
        prepared = inspector.prepare(image, used)
        localization = inspector.localize(prepared, prior)
    except Exception as error:  # whatever happens, the line gets its HOLD and the node lives
        localization = Localization(None, *reason_of(error, "localize"))
    elapsed = 1000 * (time.perf_counter() - began)
    return Frame(
        query.header, query.part_id, query.accepted_ns, clock_id(), inspector.model.hash, image, used, localization,
        query=prepared, localize_ms=elapsed, trigger_ns=query.trigger_ns,
    )  # fmt: skip


def render(inspector: Inspector | None, frame: Frame) -> Frame:
    """Add the reference rendering; frames without a pose pass unchanged."""
    if frame.localization.pose is None or frame.image is None or frame.camera is None:
        return frame
    if inspector is None or inspector.model.hash != frame.model_hash:
        return frame.failed(Reason.NO_MODEL, _other_model("renderer", inspector, frame))
    began = time.perf_counter()
    try:
        query = frame.query or inspector.prepare(frame.image, frame.camera)
        rendering = inspector.render(query, frame.localization)
    except Exception as error:  # as above
        return frame.failed(*reason_of(error, "render"))
    return replace(frame, query=query, rendering=rendering, render_ms=1000 * (time.perf_counter() - began))


def score(inspector: Inspector | None, frame: Frame, deadline: float = 0.0) -> Inspection:
    """The verdict, with timings; later than `deadline` seconds after acceptance (0: never) it is HOLD."""
    began = time.perf_counter()
    localization = frame.localization
    if localization.pose is None or frame.rendering is None or frame.image is None or frame.camera is None:
        inspection = _held(frame, localization.reason, localization.reason_text)
    elif inspector is None or inspector.model.hash != frame.model_hash:
        inspection = _held(frame, Reason.NO_MODEL, _other_model("scorer", inspector, frame))
    else:
        try:
            query = frame.query or inspector.prepare(frame.image, frame.camera)
            inspection = inspector.score(query, localization, frame.rendering)
        except Exception as error:  # as above
            inspection = _held(frame, *reason_of(error, "score"))
    score_ms = 1000 * (time.perf_counter() - began)
    stages_ms = frame.localize_ms + frame.render_ms + score_ms
    # Without a common clock (stages on several machines) transport and waiting stay unknown.
    waited_ms = (time.monotonic_ns() - frame.accepted_ns) / 1e6 if frame.clock_id == clock_id() else 0.0
    total_ms = max(stages_ms, waited_ms)
    if deadline > 0 and total_ms > 1000 * deadline:
        text = f"the verdict took {total_ms:.0f} ms, the deadline is {1000 * deadline:.0f} ms"
        inspection = replace(inspection, verdict=Verdict.HOLD, reason=Reason.TIMEOUT, reason_text=text)
    timings = {"localize": frame.localize_ms, "render": frame.render_ms, "score": score_ms, "total": total_ms}
    return replace(inspection, timings_ms=timings)


def decoded(query: Query, max_pixels: int) -> Image:
    if query.message is None:
        raise ImageError("there is no image")
    message = query.message if isinstance(query.message, TooLarge) else bounded_image(query.message, max_pixels)
    if isinstance(message, TooLarge):
        raise ImageError(message.text)
    return compressed_to_rgb(message, max_pixels) if isinstance(message, CompressedImage) else image_to_rgb(message)


def _held(frame: Frame, reason: Reason, text: str) -> Inspection:
    return Inspection.hold(reason, text, image=frame.image, localization=frame.localization)


def _other_model(node: str, inspector: Inspector | None, frame: Frame) -> str:
    has = "no model" if inspector is None else f"model {inspector.model.hash[:12]}"
    return f"the {node} has {has}, the frame was localized with {frame.model_hash[:12]}"
