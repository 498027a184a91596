"""The comparison of Marchi et al. 2026 (doi 10.1177/10692509261425164): before any background, inside masks.

The part is where the segmenter finds it in the image, or where the rendering lets little of its background through
(residual transmittance). An inpainter removes the part from the image, and the rendered part is put there instead; then
only what lies in the masks is compared. The thresholds of the transmittance and what the L1 distance is normalised by
are not published: here half, and feature vectors of length 1. Their segmenter sees the whole image, ours the part's
window: there are more pixels on the part so.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging.background import mask_box
from ..imaging.images import Image
from ..networks.backbones import Backbone
from ..networks.inpainters import Inpainter, OpenCvInpainter
from ..networks.segmenters import GrabCut, Segmenter
from ..photometry.prepared_query import PreparedQuery
from ..rendering.result import ReferenceRendering
from ..settings import ScoringSettings
from .measurement import SEGMENTED_SHARE
from .protocol import Evidence
from .recipe import KERNEL, SIGMA, RecipeComparison, resized
from .state import ComparisonState

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

MAX_TRANSMITTANCE = 0.5  # of the background's light that the part lets through
HOLE_MARGIN = 5  # px around the part in the image that are inpainted as well


class BackgroundComparison(RecipeComparison):
    """See the module. It learns nothing of the surface. InputError without a backbone.

    `scoring.masks`: union; image or rendering for one mask alone, the latter without inpainting (their tables 5 and 6);
    none: the image is compared with the plain rendering everywhere. With the rendering's mask alone nothing around the
    part is judged, so there is no PASS.
    """

    def __init__(
        self,
        settings: ScoringSettings,
        backbone: Backbone | None = None,
        segmenter: Segmenter | GrabCut | None = None,
        inpainter: Inpainter | None = None,
    ) -> None:
        super().__init__(settings, backbone)
        self._masks = settings.masks
        self._finder = segmenter
        self._inpainter = inpainter or OpenCvInpainter()

    def evidence(self, query: PreparedQuery, rendering: ReferenceRendering, state: ComparisonState) -> Evidence:
        image = query.undistorted
        rendered = 1 - rendering.alpha < MAX_TRANSMITTANCE
        if self._masks == "none":
            return Evidence(level_map(image, rendering.rgb, self._backbone))
        reference, mask, seen = rendering.rgb, rendered, None
        if self._masks != "rendering":
            seen = self._part(image, rendered)
            hole = cv2.dilate(seen.astype(np.uint8), np.ones((2 * HOLE_MARGIN + 1,) * 2, np.uint8)) > 0
            behind = self._inpainter.fill(image, hole).astype(np.float32) / np.float32(255)
            reference = np.where(rendered[..., None], rendering.rgb, behind)
            mask = seen | rendered if self._masks == "union" else seen
        plain = np.array(rendering.background_colour, np.float32)
        compared = np.where(mask[..., None], image, np.rint(255 * plain).astype(np.uint8)).astype(np.uint8)
        values = level_map(compared, np.where(mask[..., None], reference, plain), self._backbone) * mask
        # A segmenter that misses the part says nothing about what is around it.
        judged = seen is not None and bool(rendered.any()) and float(seen[rendered].mean()) >= SEGMENTED_SHARE
        return Evidence(values, ground=None if seen is None else ~seen, surroundings_judged=judged)

    def _part(self, image: Image, rendered: Mask) -> Mask:
        """Where [H, W] the part is in the image."""
        box = mask_box(rendered)
        if self._finder is None or box is None:
            return np.zeros(rendered.shape, bool)
        return self._finder.part(image, box)


def level_map(image: Image, reference: Floats, backbone: Backbone) -> Floats:
    """Their anomaly map [H, W], at the query's pixels and not normalised over a set of images.

    The L1 distances of the features' directions at five levels, each divided by the root of its number of channels,
    brought to a shorter side of 224 px, added and blurred there. reference [H, W, 3]: 0..1.
    """
    both = resized(image.astype(np.float32) / np.float32(255), np.asarray(reference, np.float32))
    size = both.shape[2], both.shape[1]
    total = np.zeros(size[::-1], np.float32)
    for level in backbone.levels(both):
        unit = level / np.maximum(np.linalg.norm(level, axis=1, keepdims=True), 1e-6)
        difference = np.abs(unit[0] - unit[1]).sum(axis=0) / np.float32(np.sqrt(level.shape[1]))
        total += cv2.resize(difference, size, interpolation=cv2.INTER_LINEAR)
    total = cv2.GaussianBlur(total, (KERNEL, KERNEL), SIGMA)
    return np.asarray(cv2.resize(total, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
