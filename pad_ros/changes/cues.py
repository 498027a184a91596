"""What one photograph says of changes: how far it differs from the rendering, and whether light explains that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..comparison.colour import residuals
from ..comparison.surface_statistics import residual_statistics
from ..imaging.geometry import Camera, Pose
from ..imaging.images import Image
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering

Floats = NDArray[np.float32]

SHIFT = 1  # px of misalignment that are forgiven
SHADING = 0.012  # of the image's width: radius over which light changes
DARKER, BRIGHTER = 0.45, 1.5  # what shadows and lamps do to the brightness; objects do more
USUAL = 2.0  # times what is usual at a place is no sign of a change
LEAST = (0.05, 0.035)  # L*a*b* / 100: no sign either, as it is and after light
CERTAIN = (0.16, 0.11)  # above these it is a certain sign
LIGHT_WEIGHT = 0.4  # of what light or shadow may explain


def residual_of(image: Image, rendering: ReferenceRendering) -> Floats:
    """[H, W, 2], L*a*b* / 100: the difference in colour, and what is left of it when a smooth light is undone.

    Shadows of objects that came or went change the brightness alone, and textures stay.
    """
    full = residuals(image, rendering, SHIFT)[..., 0]
    sigma = SHADING * image.shape[1]
    grey, known = (cv2.GaussianBlur(x.mean(axis=2), (0, 0), sigma) for x in (image / np.float32(255), rendering.rgb))
    gain = np.clip(grey / np.maximum(known, 0.02), DARKER, BRIGHTER)
    lit = np.clip(rendering.rgb * gain[..., None], 0, 1).astype(np.float32)
    unlit = residuals(image, replace(rendering, rgb=lit), SHIFT)[..., 0]
    return np.stack([full, np.minimum(full, unlit)], axis=2)


def normal_residual(renderer: Renderer, samples: Iterable[tuple[Camera, Pose, Floats]]) -> Floats:
    """float32 [N, 2]: what unchanged views differ by at each Gaussian, from residual maps."""
    return residual_statistics(renderer, samples).mean


def cue_of(image: Image, rendering: ReferenceRendering) -> Floats:
    """[H, W] in 0..1: how surely a photograph shows a change; features of the rendering: the usual residuals."""
    return cues_of(image, rendering)[0]


def cues_of(image: Image, rendering: ReferenceRendering) -> tuple[Floats, Floats]:
    """(the cue, the same where what light or shadow may explain counts in full), each as `cue_of` gives it."""
    found = residual_of(image, rendering)
    signs = []
    for channel, (least, certain) in enumerate(zip(LEAST, CERTAIN, strict=True)):
        forgiven = np.maximum(USUAL * rendering.features[..., channel], least)
        signs.append(np.clip((found[..., channel] - forgiven) / (certain - least), 0, 1))
    known = rendering.alpha > 0.5
    cue, shaded = (np.where(known, np.maximum(weight * signs[0], signs[1]), 0) for weight in (LIGHT_WEIGHT, 1.0))
    return cue.astype(np.float32), shaded.astype(np.float32)
