"""Inspector: localize, render, score in a row for one image, with timings."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .compute.threads import only_our_threads
from .decision.inspection import Inspection
from .decision.scorer import Scorer
from .errors import ImageError, InputError
from .imaging.geometry import Camera, Pose, largest_cosine, undistort_image
from .imaging.images import Image, validate
from .imaging.rect import Rect
from .imaging.scene import Scene
from .localization.appearance import Appearance
from .localization.localizer import MIN_WINDOW, FirstLook, Localizer
from .localization.refinement import Refinement, refine_pose, small_camera, unexplained
from .localization.result import Localization
from .methods.presets import Method, method_from_dict
from .model import ReferenceModel
from .networks.backbones import find_backbone
from .networks.segmenters import find_segmenter
from .photometry.ground import as_seen, on_ground
from .photometry.shading import shaded
from .rendering.device import resolve_device
from .rendering.renderer import Renderer
from .rendering.result import ReferenceRendering
from .verdicts import Reason, Verdict

MAX_ASPECT_DIFFERENCE = 0.01  # of width / height between a query and the camera it is said to come from
# Of the calibration's largest loss, which has room for a defect: a pose that few matches or none speak for must explain
# the image better. Held-out good views stay below 0.57; where refining ended in a wrong pose, it was 0.9 and more.
CONVINCING_LOSS = 0.6
LOOKS = 4  # poses that are tried where no features tell one
TRACKED = "tracked"  # the reason text of a pose found by tracking
NOTHING_KNOWN = Scene()
MIN_CONTRAST = 3.0  # 8-bit levels: standard deviation under which an image shows nothing


class Inspector:
    """The three stages for one reference model. Each stage may also run in a process of its own.

    Images are validated RGB; `camera` may be distorted; None means the model's own camera, resized.
    The stages raise only for bad input (InputError) and programming errors; `inspect` never raises:
    whatever goes wrong is HOLD with its reason.
    """

    def __init__(self, model: ReferenceModel, device: str = "auto", scene: Scene = NOTHING_KNOWN) -> None:
        self.model = model
        self.scene = scene
        self.device = resolve_device(device)
        self.method: Method = method_from_dict(model.settings, f"manifest of {model.name}")

    @staticmethod
    def load(path: Path, device: str = "auto", scene: Scene = NOTHING_KNOWN) -> Inspector:
        """Load a bundle; ModelError if it is damaged."""
        return Inspector(ReferenceModel.load(path), device, scene)

    @cached_property
    def _localizer(self) -> Localizer:
        model = self.model
        return Localizer(model.sfm_map, model.background, self.method.localization, model.networks, self.device)

    @cached_property
    def _appearance(self) -> Appearance:
        return Appearance(self.model.photographs, self.model.background, self._centre)

    @cached_property
    def _view_centres(self) -> NDArray[np.float64]:
        return np.array([pose.centre for pose in self.model.sfm_map.poses])

    @cached_property
    def _renderer(self) -> Renderer:
        calibration = self.model.calibration
        features = None if calibration is None else calibration.features()
        return Renderer(
            self.model.gaussians, self.model.background, features, self.device,
            self.model.photographs, self.method.scoring.photographs,
        )  # fmt: skip

    @cached_property
    def _sketch(self) -> Renderer:
        return self._renderer.coarse(max(self.method.refinement.levels))

    @cached_property
    def _scorer(self) -> Scorer:
        model, scoring = self.model, self.method.scoring
        backbone = find_backbone(scoring.backbone, model.networks, self.device)
        segmenter = find_segmenter(scoring.segmenter, model.networks, self.device)
        return Scorer(model.calibration, model.background, scoring, backbone, segmenter, self.scene.empty)

    def warm_up(self) -> None:
        """Build all stages and compile their kernels, so that the first query is as fast as the rest."""
        camera = self.model.camera.pinhole()
        pose = self.model.sfm_map.poses[0]
        self.inspect(self._renderer.part(camera, pose).rgb8)
        if self.model.background.colour is not None:
            _ = self._appearance

    def query_camera(self, image: Image, camera: Camera | None) -> Camera:
        """The camera to use for `image`; InputError where its shape contradicts the intrinsics."""
        height, width = image.shape[:2]
        base = camera or self.model.camera
        if (base.width, base.height) == (width, height):
            return base
        if camera is None and abs((width / height) / (base.width / base.height) - 1) <= MAX_ASPECT_DIFFERENCE:
            return base.resized(width, height)
        source = "its camera_info" if camera else "the model's camera"
        raise InputError(
            f"the image has {width}x{height} pixels, but {source} is for {base.width}x{base.height}; "
            "give the intrinsics that belong to the image"
        )

    def localize(self, image: Image, camera: Camera | None = None, near: Localization | None = None) -> Localization:
        """The camera's pose, refined photometrically, or the reason why there is none.

        near: where the part is expected, such as what was found in the frame before. Within about 10 pixels of the
        right pose the search for it is saved; else the frame is localized as without. InputError for an image that
        does not fit the camera or the scene.

        A pose that was tracked, or found at first sight from few features, must explain the image as well as the
        views of good parts did, or be confirmed by these features once they are matched near it. Where it is neither,
        the frame is localized with all care.
        """
        camera = self.query_camera(image, camera)
        roi = None if self.scene.roi is None else _within(self.scene.roi, camera)
        self.scene.check(image)
        if _contrast(image) < MIN_CONTRAST:
            return Localization(None, Reason.NO_CONTENT, "the image is uniform: lens covered, lights off, or no part")
        image, camera = undistort_image(image, camera), camera.pinhole()
        verifiable = self.method.refinement.renderings > 1 and math.isfinite(self._convincing_loss)
        followed, in_track = None, Localization(None, Reason.NONE, TRACKED)
        if verifiable and near is not None and near.pose is not None:
            followed = self._followed(image, camera, near.pose, near.rendering)
            tracked = self._trusted(followed, in_track, self._convincing_loss)
            if tracked is not None:
                return tracked
        look = self._localizer.quick_look(image, camera, roi) if verifiable else None
        if look is not None:
            tracked = None if followed is None else self._confirmed(followed, in_track, look, camera)
            quick = tracked or self._convinced(image, camera, look)
            if quick is not None:
                return quick
        found = self._verified(image, camera, self._localizer.localize(image, camera, roi, look))
        if found.pose is None and found.reason in (Reason.NOT_LOCALIZED, Reason.WEAK_POSE):
            return self._by_looks(image, camera, roi) or found
        return found

    def _followed(self, image: Image, camera: Camera, pose: Pose, rendering: ReferenceRendering | None) -> Refinement:
        """The pose of the frame before, refined."""
        refined = self._refined(image, camera, pose, rendering)
        if rendering is not None and refined.loss > self._convincing_loss:  # sketches find their way from further off
            refined = self._refined(image, camera, pose)
        return refined

    def _verified(self, image: Image, camera: Camera, found: Localization) -> Localization:
        """The pose found, refined, or the reason why it is not to be trusted."""
        if found.pose is None:
            return found
        refined = self._refined(image, camera, found.pose)
        limit = self._largest_loss
        if math.isfinite(limit) and not refined.loss <= limit:
            text = (
                f"the part as rendered at the pose found differs from the image all over ({refined.loss:.3f}, good "
                f"parts stay below {limit:.3f}): a wrong pose, another part, or other light"
            )
            return replace(found, pose=None, reason=Reason.WEAK_POSE, reason_text=text)
        problem = self._uncovered(refined.pose)
        if problem:
            return replace(found, pose=None, reason=Reason.OUTSIDE_COVERAGE, reason_text=problem)
        covariance = found.covariance if refined.covariance is None else refined.covariance
        return replace(found, pose=refined.pose, covariance=covariance, rendering=refined.rendering)

    def _convinced(self, image: Image, camera: Camera, look: FirstLook) -> Localization | None:
        """The pose of a first look, refined, if the image, or the features it is from, leave no doubt about it."""
        if look.found.pose is None:
            return None
        refined = self._refined(image, camera, look.found.pose)
        sure = self._trusted(refined, look.found, self._convincing_loss)
        return sure or self._confirmed(refined, look.found, look, camera)

    def _confirmed(
        self, refined: Refinement, found: Localization, look: FirstLook, camera: Camera
    ) -> Localization | None:
        """What was found, with the refined pose, where it explains the image as good views are and features agree."""
        if refined.loss > self._largest_loss or not self._localizer.confirms(look, refined.pose, camera):
            return None
        return self._trusted(refined, found, self._largest_loss)

    def _by_looks(self, image: Image, camera: Camera, roi: Rect | None) -> Localization | None:
        """The best of the poses that the part as a whole suggests, if the image then leaves no doubt about it."""
        part = self._localizer.part_in_view(image, roi)
        if part is None or not math.isfinite(self._convincing_loss) or self.method.refinement.renderings <= 1:
            return None
        best: Refinement | None = None
        for pose in self._appearance.poses(image, part[0], camera, LOOKS):
            refined = self._refined(image, camera, pose)
            if refined.accepted and refined.loss > self._convincing_loss:  # it may have begun too far off
                again = self._refined(image, camera, refined.pose)
                refined = again if again.accepted else refined
            if refined.accepted and (best is None or refined.loss < best.loss):
                best = refined
        found = Localization(None, Reason.NONE, "localized by its looks")
        return None if best is None else self._trusted(best, found, self._convincing_loss)

    @property
    def _largest_loss(self) -> float:
        calibration = self.model.calibration
        return math.inf if calibration is None else calibration.max_loss

    @property
    def _convincing_loss(self) -> float:
        return CONVINCING_LOSS * self._largest_loss

    def _trusted(self, refined: Refinement, found: Localization, limit: float) -> Localization | None:
        """What was found, with the refined pose, where it explains the image and is sure."""
        if not (refined.accepted and refined.loss <= limit):
            return None
        if refined.covariance is None or self._localizer.uncertain(refined.pose, refined.covariance):
            return None
        if self._uncovered(refined.pose):
            return None
        return replace(found, pose=refined.pose, covariance=refined.covariance, rendering=refined.rendering)

    def _refined(self, image: Image, camera: Camera, pose: Pose, last: ReferenceRendering | None = None) -> Refinement:
        """The pose refined in the query's light and before its ground; the rendering is that before the trained one.

        last: a rendering at this pose from the frame before; it serves where the camera is the same.
        """
        settings = self.method.refinement
        if last is not None and (last.camera != camera or last.pose is not pose):
            last = None
        with only_our_threads():
            first = self._sketch.part(small_camera(camera, settings), pose) if last is None else last
            seen = as_seen(image, first, self.model.background)
            render, sketch = seen.over(self._renderer.part), seen.over(self._sketch.part)
            if last is not None:
                last = render(camera, pose)  # itself, over the query's ground
            refined = refine_pose(seen.image, camera, pose, render, settings, sketch, last)
            if seen.ground is None:
                return refined
            # The part alone must be explained: not the ground behind it, nor how the surroundings shade it.
            rendering, background = self._renderer.part(camera, refined.pose), self.model.background
            query = seen.image.astype(np.float32) / np.float32(255)
            lit = on_ground(shaded(query, rendering, background), query, background)
            return replace(refined, rendering=rendering, loss=unexplained(seen.image, lit))

    @cached_property
    def _centre(self) -> NDArray[np.float64]:
        return self.model.gaussians.centre

    def _uncovered(self, pose: Pose) -> str | None:
        """Why the reference views cannot answer for this viewpoint, None if they can."""
        calibration = self.model.calibration
        if calibration is None:
            return None
        angle = np.arccos(np.clip(largest_cosine(self._view_centres, pose.centre, self._centre), -1, 1))
        if angle <= calibration.coverage:
            return None
        return (
            f"seen from {np.degrees(angle):.0f} degrees beside the nearest reference view, "
            f"{np.degrees(calibration.coverage):.0f} are covered: add reference views from there"
        )

    def render(self, localization: Localization, camera: Camera) -> ReferenceRendering:
        """The reference rendering for a localization that has a pose."""
        if localization.pose is None:
            raise ValueError("there is no pose to render from")
        with only_our_threads():
            part = localization.rendering or self._renderer.part(camera.pinhole(), localization.pose)
            return self._renderer.with_photographs(part)

    def score(
        self, image: Image, camera: Camera, localization: Localization, rendering: ReferenceRendering | None
    ) -> Inspection:
        """`rendering` None: the localization failed, the result is HOLD with its reason. Raises as `localize`."""
        if rendering is None or localization.pose is None:
            return self.hold(localization.reason, localization.reason_text, image, localization)
        self.scene.check(image)
        with only_our_threads():
            return self._scorer.score(image, camera, localization, rendering)

    def inspect(self, image: Image, camera: Camera | None = None, near: Localization | None = None) -> Inspection:
        """The verdict for one image; HOLD with the reason for anything that goes wrong. near: see `localize`."""
        times = {"localize": 0.0, "render": 0.0, "score": 0.0}
        began = last = time.perf_counter()

        def lap(stage: str) -> None:
            nonlocal last
            now = time.perf_counter()
            times[stage] = 1000 * (now - last)
            last = now

        try:
            image = validate(image)
            camera = self.query_camera(image, camera)
            localization = self.localize(image, camera, near)
            lap("localize")
            rendering = self.render(localization, camera) if localization.localized else None
            lap("render")
            result = self.score(image, camera, localization, rendering)
            lap("score")
        except ImageError as error:
            result = self.hold(Reason.BAD_IMAGE, str(error))
        except InputError as error:
            result = self.hold(Reason.CAMERA_MISMATCH, str(error))
        except Exception as error:  # any failure must reach the line as HOLD, not end the process
            result = self.hold(Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        times["total"] = 1000 * (time.perf_counter() - began)
        result.timings_ms.update(times)
        return result

    def hold(
        self, reason: Reason, text: str, image: Image | None = None, localization: Localization | None = None
    ) -> Inspection:
        """A HOLD verdict that carries its reason."""
        calibration = self.model.calibration
        threshold = float("nan") if calibration is None else calibration.threshold
        return Inspection(Verdict.HOLD, reason, text, float("nan"), threshold, (), localization, None, None, image)

    def bad_image(self, text: str) -> Inspection:
        """HOLD for a query that could not even be decoded."""
        return self.hold(Reason.BAD_IMAGE, text)


def _within(roi: Rect, camera: Camera) -> Rect:
    """The region inside the image; InputError where nothing to look at is left of it."""
    x0, y0, x1, y1 = max(roi[0], 0), max(roi[1], 0), min(roi[2], camera.width), min(roi[3], camera.height)
    if min(x1 - x0, y1 - y0) < MIN_WINDOW:
        raise InputError(
            f"the region of interest {','.join(map(str, roi))} leaves less than {MIN_WINDOW} px of the image of "
            f"{camera.width}x{camera.height}; give X0,Y0,X1,Y1 in pixels"
        )
    return Rect(x0, y0, x1, y1)


def _contrast(image: Image) -> float:
    """Standard deviation of all values, 8-bit levels."""
    mean, deviation = cv2.meanStdDev(image)
    return math.sqrt(max(float(np.mean(mean**2 + deviation**2)) - float(np.mean(mean)) ** 2, 0.0))
