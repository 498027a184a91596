"""How blurred is a photograph, also where only one direction is, as by motion?"""

from __future__ import annotations

import cv2
import numpy as np

from .images import Image

MEASURED_SIDE = 1000  # px: finer blur than this shows does no harm
FILTER = 9  # px


def blur_of(image: Image) -> float:
    """0 (sharp) to 1 (blurred): the share of the differences between neighbours that a further blur leaves.

    The larger of both directions. Crete et al., "The blur effect: perception and estimation with a new no-reference
    perceptual blur metric", 2007.
    """
    scale = min(1.0, MEASURED_SIDE / max(image.shape[:2]))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    values = grey.astype(np.float32)
    return max(_along(values, axis) for axis in (0, 1))


def _along(values: np.ndarray, axis: int) -> float:
    smooth = cv2.blur(values, (1, FILTER) if axis == 0 else (FILTER, 1))
    sharp, left = (np.abs(np.diff(one, axis=axis)) for one in (values, smooth))
    total = float(sharp.sum())
    return 1 - float(np.maximum(sharp - left, 0).sum()) / total if total > 0 else 1.0
