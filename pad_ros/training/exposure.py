"""Exposure and white balance of views of a camera that set both anew for each: found from the landmarks, undone.

A landmark has one colour, each view its own gain of each channel (in the values as they are stored: a gain of the light
stays one under a camera's gamma). Views of a locked camera stay exactly as they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, vstack
from scipy.sparse.linalg import lsqr

from ..imaging.views import ReferenceViews
from ..localization.sfm_map import SfmMap
from ..progress import say

DIFFERENT = 0.08  # spread of the gains' logarithms between views: of locked cameras up to .037 was seen, by the lamps
WHITE_BALANCE = 0.06  # the same of the hue; of a locked camera .027 was seen
USABLE = (8, 247)  # grey levels, between which a camera shows differences
MIN_SEEN = 20  # landmarks of a view, for its gain to be known
ROUNDS = 4  # of least squares, what fits badly counting less in the next
OUTLIER = 0.1  # of a logarithm: reflections, edges
UNCHANGED = 1.0  # observations' worth of belief that a view is like the others
HALF = 1  # px around a keypoint

Doubles = NDArray[np.float64]


def levelled(views: ReferenceViews, sfm_map: SfmMap) -> ReferenceViews:
    """The views as if all had been taken with the same exposure and white balance, with a line that says so; the very
    same views where they were."""
    gains = view_gains(views, sfm_map)
    brightness = gains.mean(axis=1)
    hue = gains - brightness[:, None]
    by_exposure, by_hue = float(brightness.std()), float(np.sqrt((hue**2).sum(axis=1).mean()))
    if by_exposure < DIFFERENT and by_hue < WHITE_BALANCE:
        return views
    what = " and ".join(
        name for name, differs in (("exposure", by_exposure >= DIFFERENT), ("white balance", by_hue >= WHITE_BALANCE))
        if differs
    )  # fmt: skip
    low, high = np.exp([brightness.min(), brightness.max()])
    say(
        f"{views.source}: {what} of the views differ (brightness {low:.2f} to {high:.2f} times the middle): undone, as "
        "the landmarks say; lock both in the camera for exact colours"
    )
    changed = tuple(
        replace(view, image=(view.image / np.exp(gain) + 0.5).clip(0, 255).astype(np.uint8))
        for view, gain in zip(views.views, gains, strict=True)
    )
    return replace(views, views=changed)


def view_gains(views: ReferenceViews, sfm_map: SfmMap) -> Doubles:
    """Logarithms [V, 3] of each view's gain, their median 0; 0 where a view shows too little."""
    colours = _seen_colours(views, sfm_map)
    usable = np.all((colours > USABLE[0]) & (colours < USABLE[1]), axis=1)
    view, landmark = sfm_map.descriptor_view[usable], sfm_map.descriptor_landmark[usable]
    count, points = len(views), len(sfm_map.points)
    gains = np.zeros((count, 3))
    if len(view) == 0:
        return gains
    rows = np.arange(len(view))
    system = csr_matrix(
        (np.ones(2 * len(view)), (np.concatenate([rows, rows]), np.concatenate([view, count + landmark]))),
        shape=(len(view), count + points),
    )
    prior = csr_matrix((np.full(count, UNCHANGED), (np.arange(count), np.arange(count))), shape=(count, count + points))
    for channel in range(3):
        seen = np.log(colours[usable, channel])
        weight = np.ones(len(view))
        for _ in range(ROUNDS):
            whole = vstack([diags(weight) @ system, prior])
            found = lsqr(whole, np.concatenate([weight * seen, np.zeros(count)]), atol=1e-8, btol=1e-8)[0]
            weight = np.sqrt(1 / (1 + ((seen - system @ found) / OUTLIER) ** 2))
        gains[:, channel] = found[:count]
    gains -= np.median(gains, axis=0)
    gains[np.bincount(view, minlength=count) < MIN_SEEN] = 0
    return gains


def _seen_colours(views: ReferenceViews, sfm_map: SfmMap) -> Doubles:
    """[D, 3] grey levels around each observation."""
    out = np.zeros((len(sfm_map.keypoints), 3))
    for v, view in enumerate(views.views):
        own = np.flatnonzero(sfm_map.descriptor_view == v)
        height, width = view.image.shape[:2]
        x, y = (
            np.clip(sfm_map.keypoints[own, k].astype(int), HALF, side - 1 - HALF)
            for k, side in ((0, width), (1, height))
        )
        around = range(-HALF, HALF + 1)
        out[own] = np.mean([view.image[y + dy, x + dx] for dy in around for dx in around], axis=0)
    return out
