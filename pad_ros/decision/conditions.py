"""The conditions that an image was taken under, and whether they are those that the model was calibrated for.

A defect must not pass because it lies out of the frame, is overexposed, blurred, or too small in the image. Where the
conditions are not those of the reference views, an image that shows no defect is HOLD with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging.compression import compression
from ..imaging.geometry import Camera, Pose, distort_map
from ..imaging.images import Image
from ..imaging.interlacing import field_shift
from ..imaging.rect import Rect
from ..photometry.prepared_query import LitQuery, PreparedQuery
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering
from ..verdicts import Reason
from .inspection import Conditions

Floats = NDArray[np.float32]

OUTLINE_SIDE = 200  # px, longer side of the rendering that shows the part beyond the frame
CLIPPED_LOW, CLIPPED_HIGH = 1, 254  # grey levels at which a camera shows nothing any more
REFERENCE_MARGIN = 0.05  # of full scale: a reference pixel nearer to black or white is clipped in good views as well
MAX_HIDDEN = 0.15  # of full scale, in the light of the reference views: what clipping may hide
MAX_CLIPPED = 0.02  # share of the part
SOLID = 0.9  # alpha
EDGE_QUANTILE = 0.9  # of the rendering's gradient on the part: pixels above it are edges
MIN_EDGE = 0.02  # gradient per px (0..1): a part of weaker edges has no sharpness to measure
RESOLUTION_ALLOWANCE = 0.8  # of the least resolution of the reference views
SHARPNESS_ALLOWANCE = 0.8  # of the least sharpness of good views
SURE_SHARPNESS = 0.95  # of the same: below it faint defects fade
MAX_FIELD_SHIFT = 0.25  # px between odd and even rows: images read out at once stay below 0.1
MOST_FORGIVEN = 1.15  # factor of the expected residual: good images of two parts stayed below 1.08
COMPRESSION_ALLOWANCE = 0.1  # above the largest of good views: as much as it differs between images of one kind
ANY_COMPRESSION = 1000.0  # of models made before it was measured


@dataclass(frozen=True)
class ConditionLimits:
    """The least resolution (px per part unit) and sharpness of good views that verdicts can rest on.

    max_compression: above it the score is uncertain, see `doubt`.
    """

    min_resolution: float = 0.0
    min_sharpness: float = 0.0
    max_compression: float = ANY_COMPRESSION

    @staticmethod
    def of(conditions: Sequence[Conditions]) -> ConditionLimits:
        """From the conditions of good reference views."""
        resolutions = [c.resolution for c in conditions if math.isfinite(c.resolution)]
        sharpness = [c.sharpness for c in conditions if math.isfinite(c.sharpness)]
        compressions = [c.compression for c in conditions if math.isfinite(c.compression)]
        return ConditionLimits(
            RESOLUTION_ALLOWANCE * min(resolutions, default=0.0), SHARPNESS_ALLOWANCE * min(sharpness, default=0.0),
            max(0.0, *compressions) + COMPRESSION_ALLOWANCE if compressions else ANY_COMPRESSION,
        )  # fmt: skip

    def widened(self, conditions: Sequence[Conditions]) -> ConditionLimits:
        """The limits that these good images keep as well."""
        of_them = ConditionLimits.of(conditions)
        return ConditionLimits(
            min(self.min_resolution, of_them.min_resolution), min(self.min_sharpness, of_them.min_sharpness),
            max(self.max_compression, of_them.max_compression),
        )  # fmt: skip

    def problem(self, found: Conditions, min_view_share: float) -> tuple[Reason, str] | None:
        """Why an image without a defect cannot be passed under its conditions, None if it can."""
        if not found.light_known:
            return Reason.LIGHT, "the light differs more from that of the reference views than can be undone"
        if found.clipped > MAX_CLIPPED:
            text = (
                f"{100 * found.clipped:.0f} % of the part are over- or underexposed, {100 * MAX_CLIPPED:.0f} % may be"
            )
            return Reason.LIGHT, text
        if found.view_share < min_view_share:
            text = f"{100 * found.view_share:.0f} % of the part are in view, {100 * min_view_share:.0f} % are needed"
            return Reason.PARTIAL_VIEW, text
        if found.resolution < self.min_resolution:
            share = found.resolution / self.min_resolution * RESOLUTION_ALLOWANCE
            text = f"the part has {share:.2f} times the pixels of the reference views, {RESOLUTION_ALLOWANCE} is needed"
            return Reason.RESOLUTION, text
        if found.sharpness < self.min_sharpness:
            text = (
                f"the image is blurred: sharpness {found.sharpness:.2f} at the part's edges, good views have "
                f"{self.min_sharpness / SHARPNESS_ALLOWANCE:.2f} and more"
            )
            return Reason.BLUR, text
        if found.field_shift > MAX_FIELD_SHIFT:
            text = "the image is interlaced: odd and even rows show the part in two places; use a progressive readout"
            return Reason.BLUR, text
        return None

    def doubt(self, found: Conditions, forgiven: float) -> tuple[Reason, str] | None:
        """What makes a score uncertain: it may be a faint defect's that lost its detail, or that noise hides.

        forgiven: see `Evidence`. None where the image is as good views are.
        """
        if found.compression > self.max_compression:
            return Reason.BLUR, "is compressed more than the reference views: send images with less compression"
        if found.sharpness < SURE_SHARPNESS / SHARPNESS_ALLOWANCE * self.min_sharpness:
            return Reason.BLUR, "is less sharp than good views: look for motion, focus and dirt on the lens"
        if forgiven > MOST_FORGIVEN:
            return Reason.LIGHT, "differs all over the part from good views: look for noise and other light"
        return None


def measure_conditions(query: PreparedQuery, rendering: ReferenceRendering, outline: Renderer) -> Conditions:
    """The conditions of a query at the rendering's pose. outline: renders the part alone, at any resolution."""
    lit = query.lit_by(rendering)
    clipped = clipped_share(lit, query.undistorted, rendering)
    shown = 1.0
    if query.background.colour is not None and not _within_frame(rendering):
        shown = share_in_frame(outline, query.pinhole, rendering.pose)
    # As the camera sent it: undistorting and shrinking mix rows and blocks.
    sent = (query.whole or query).image
    alpha = distort_map(rendering.alpha, query.camera)
    if query.whole is not None:
        alpha = cv2.resize(alpha, (sent.shape[1], sent.shape[0]), interpolation=cv2.INTER_LINEAR)
    solid = alpha > SOLID
    return Conditions(
        shown * (1 - clipped), clipped, lit.light_change, lit.light.known, resolution(rendering, outline),
        sharpness(lit.image, rendering), field_shift(sent, solid), compression(sent, solid),
    )  # fmt: skip


def _within_frame(rendering: ReferenceRendering) -> bool:
    """Whether the part's window, which has a margin, lies inside the image: then all of the part does."""
    if rendering.window is None:
        return False
    x0, y0, x1, y1 = rendering.window
    return x0 > 0 and y0 > 0 and x1 < rendering.camera.width and y1 < rendering.camera.height


def share_in_frame(outline: Renderer, camera: Camera, pose: Pose) -> float:
    """Share of the part's projection that lies inside the image of a pinhole camera."""
    gaussians = outline.gaussians
    seen = pose.transform(gaussians.means[gaussians.opacities > 0.1].astype(np.float64))
    seen = seen[seen[:, 2] > 1e-3]
    if len(seen) == 0:
        return 0.0
    pixels = camera.project(seen)
    (x0, y0), (x1, y1) = pixels.min(axis=0), pixels.max(axis=0)
    if x0 >= 0 and y0 >= 0 and x1 <= camera.width and y1 <= camera.height:
        return 1.0
    whole = Rect(math.floor(x0), math.floor(y0), math.ceil(x1) + 1, math.ceil(y1) + 1)
    scale = min(OUTLINE_SIDE / max(whole.width, whole.height), 1.0)
    size = max(round(scale * whole.width), 1), max(round(scale * whole.height), 1)
    extended = camera.cropped(whole.x0, whole.y0, whole.width, whole.height).resized(*size)
    alpha = outline.part(extended, pose).alpha
    inside = Rect(
        round(-scale * whole.x0), round(-scale * whole.y0), round(scale * (camera.width - whole.x0)),
        round(scale * (camera.height - whole.y0)),
    ).clipped(alpha.shape)  # fmt: skip
    total = float(alpha.sum())
    return float(alpha[inside.slices].sum()) / total if total > 0 else 0.0


def clipped_share(lit: LitQuery, image: Image, rendering: ReferenceRendering) -> float:
    """Share of the part's pixels [H, W, 3] at which the camera cut off so much that a defect could be hidden there."""
    inside = rendering.inside
    part = rendering.alpha[inside] > 0.5
    count = int(np.count_nonzero(part))
    gain, offset = np.array(lit.light.gain), np.array(lit.light.offset)
    hides_low, hides_high = -offset / gain > MAX_HIDDEN, 1 - (1 - offset) / gain > MAX_HIDDEN
    if count == 0 or not (hides_low.any() or hides_high.any()):
        return 0.0
    seen, expected = image[inside][part], rendering.rgb[inside][part]
    low = hides_low & (seen <= CLIPPED_LOW) & (expected > REFERENCE_MARGIN)
    high = hides_high & (seen >= CLIPPED_HIGH) & (expected < 1 - REFERENCE_MARGIN)
    return float(np.count_nonzero((low | high).any(axis=1))) / count


def resolution(rendering: ReferenceRendering, outline: Renderer) -> float:
    """px per part unit at the part's centre."""
    depth = float(rendering.pose.transform(outline.centre[None])[0, 2])
    return math.sqrt(rendering.camera.fx * rendering.camera.fy) / max(depth, 1e-9)


def sharpness(image: Image, rendering: ReferenceRendering) -> float:
    """Gradient of the image at the edges of the rendered part, relative to the rendering's own."""
    inside = rendering.inside
    part = cv2.erode((rendering.alpha[inside] > 0.9).view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if np.count_nonzero(part) < 100:
        return math.nan
    reference = _slope(rendering.rgb[inside])
    slopes = reference[part]
    rank = int(EDGE_QUANTILE * (len(slopes) - 1))
    edges = part & (reference > max(float(np.partition(slopes, rank)[rank]), MIN_EDGE))
    if np.count_nonzero(edges) < 50:
        return math.nan
    query = _slope(image[inside]) * np.float32(1 / 255)
    # The strongest slope nearby: a pose that is off by a fraction of a pixel is no blur.
    strongest = (cv2.dilate(slope, np.ones((3, 3), np.uint8))[edges].sum() for slope in (query, reference))
    return float(next(strongest) / next(strongest))


def _slope(values: Floats | Image) -> Floats:
    """Gradient magnitude [H, W] of the grey values, per px."""
    grey = cv2.cvtColor(values, cv2.COLOR_RGB2GRAY)
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *axis, ksize=3, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    return np.asarray(cv2.magnitude(across, down))
