"""Localizer: the camera's pose for one query image, or the reason why there is none.

Coarse to fine: find the part's window; match its features to one mean descriptor per landmark and solve PnP;
then match again near where the landmarks project, against what the views closest to that pose saw, and solve anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..imaging.background import Background, Mask
from ..imaging.geometry import Array, Camera, Pose
from ..imaging.images import Image
from ..imaging.rect import Rect
from ..networks.network import Network, by_name
from ..photometry.prepared_query import PreparedQuery
from ..settings import LocalizationSettings
from ..verdicts import Reason
from .choices import check_map, create_features, create_matcher, create_retrieval
from .features import Features, densest_window, extract_window, grown_window, inside_mask
from .landmarks import LandmarkIndex
from .matching import Pairs
from .pnp import PoseEstimate, estimate_pose
from .pose_gates import PoseGates
from .result import Localization
from .retrieval import most_similar
from .sfm_map import SfmMap

# Finding the part and its features
SEARCH_PIXELS = 400_000  # the whole frame is resized to about so many where the background does not show the part,
SEARCH_MAX_SCALE = 1.5  # but enlarged by no more than this
MIN_PART_SHARE, MAX_PART_SHARE = 0.002, 0.7  # of the frame: else it is no part in front of its background
COARSE_PIXELS = 50_000  # of the window of a coarse estimate, where the pose is refined and verified afterwards,
COARSE_FEATURES = 200  # and how many are looked at there
QUICK_FEATURES = 400  # of the frame in a quick estimate, or of the part's window in a confirmation,
QUICK_PIXELS, MOST_QUICK_PIXELS = 100_000, 250_000  # which are resized to about so many,
QUICK_SHARE = 0.62  # or to this share of the frame's, where that lies between
WINDOW_MARGIN = 0.04  # around the part, share of the window's longer side
MASK_MARGIN = 2  # px that features may lie outside the silhouette

# Matching; window px are pixels of the resized window
MATCH_RATIO = 0.9  # of the distances to the best and to the second best landmark
SAME_LANDMARK = 0.01  # landmarks closer than this share of the part do not compete in the ratio test
GUIDED_VIEWS = 8  # views nearest to the coarse pose that give descriptors to the guided matching
GUIDED_RADII = (16.0, 4.0)  # window px around a projected landmark, in the first and second round

# Poses; `pose_gates` has what else they must meet
COARSE_ERROR = 8.0  # window px up to which a match supports the first pose of a full search,
ESTIMATE_ERROR = 4.0  # the pose of a coarse estimate,
FINAL_ERROR = 2.5  # and the final pose
MIN_COARSE_INLIERS = 10
MIN_ESTIMATE_INLIERS = 6
MIN_QUICK_INLIERS = 8
MIN_RIVAL_LANDMARKS = 6  # that quick features off the part may show of a second one,
RIVAL_SIZE = 2.5  # which is at most so many times as large, or as small


@dataclass(frozen=True, eq=False)
class CoarseEstimate:
    """A pose, or none, from few features of the part or from those of the whole frame, and what it came from."""

    found: Localization
    features: Features
    pairs: Pairs  # of features and landmarks
    first: PoseEstimate | None
    of_frame: bool


class Localizer:
    """Finds the camera of a query in an SfM map. The same image always gives the same answer.

    networks: those that the settings name; they run on `device`. ModelError where map and settings do not belong
    together.
    """

    def __init__(
        self,
        sfm_map: SfmMap,
        background: Background,
        settings: LocalizationSettings | None = None,
        networks: Iterable[Network] = (),
        device: str = "cpu",
    ) -> None:
        self.background = background
        self.settings = s = settings or LocalizationSettings()
        check_map(sfm_map, s)
        named = by_name(networks)
        self._points = sfm_map.points
        self._features = create_features(s.features, named, device)
        self._coarse_features = self._features.quick(COARSE_FEATURES)
        self._quick_features = self._features.quick(QUICK_FEATURES)
        self._matcher = create_matcher(s.matcher, s.features, named, device)
        self._retrieval = create_retrieval(s.retrieval, named, sfm_map.vocabulary, device)
        self._view_descriptors = sfm_map.view_descriptors
        self._landmarks = LandmarkIndex(sfm_map)
        # Without a plain background the landmarks are those of a scene, which the camera may well be inside of.
        self.gates = PoseGates.of(sfm_map, s.min_inliers, background.colour is not None)

    def quick_estimate(self, query: PreparedQuery) -> CoarseEstimate | None:
        """A pose from few features of a small version of the frame or the region, before whatever ground.

        For a caller that refines and verifies it. None where a more careful search is called for: there is no such
        pose, a second part may be in view, or the plain background shows the part, whose window then is the cheaper
        search; also where the features have no cheaper form.
        """
        if self._quick_features is None or self.part_window(query) is not None:
            return None
        image, camera = query.undistorted, query.pinhole
        frame = query.region or Rect.of_image(image.shape)
        pixels = round(min(max(QUICK_SHARE * frame.area, QUICK_PIXELS), MOST_QUICK_PIXELS))
        features = extract_window(self._quick_features, image, frame, pixels, 1.0)
        pairs = self._match(features, image[frame.slices])
        first = self._estimate(features, pairs, camera, ESTIMATE_ERROR, MIN_QUICK_INLIERS)
        if first is None or self._has_rival(first.pose, features, pairs, camera):
            return None
        return CoarseEstimate(_from_few(first, pairs), features, pairs, first, False)

    def coarse_estimate(self, query: PreparedQuery) -> CoarseEstimate | None:
        """A pose from a small window, for a caller that refines and verifies it: often within a pixel, sometimes wrong.

        In front of another background than the trained one, or without one, from the whole frame or the region. None
        where the features have no cheaper form.
        """
        if self._coarse_features is None:
            return None
        image, camera = query.undistorted, query.pinhole
        window = self.part_window(query)
        if window is None:
            frame = query.region or Rect.of_image(image.shape)
            features = extract_window(self._features, image, frame, SEARCH_PIXELS, SEARCH_MAX_SCALE)
            pairs = self._match(features, image[frame.slices])
            first = self._first_pose(features, pairs, camera)
        else:
            assert query.part_mask is not None
            features = extract_window(self._coarse_features, image, window, COARSE_PIXELS, 1.0)
            features = features.take(inside_mask(features.keypoints, query.part_mask, MASK_MARGIN))
            pairs = self._match(features, image[window.slices])
            first = self._estimate(features, pairs, camera, ESTIMATE_ERROR)
            if first is not None and first.inliers.sum() < MIN_ESTIMATE_INLIERS:
                first = None
        found = self._single(_from_few(first, pairs), features, pairs, camera)
        return CoarseEstimate(found, features, pairs, first, window is None)

    def confirms(self, estimate: CoarseEstimate, pose: Pose, camera: Camera) -> bool:
        """Whether the features of a coarse estimate, matched near `pose`, meet what `localize` asks, and agree with it.

        To agree, they must put the landmarks within `ESTIMATE_ERROR` window px (median) of where `pose` does.
        """
        return self._agree(estimate.features, pose, camera)

    def confirmed_there(self, query: PreparedQuery, pose: Pose) -> bool:
        """The same by features of the part's window at `pose`, before whatever ground."""
        window = self._window_at(pose, query)
        if self._quick_features is None or window is None:
            return False
        features = extract_window(self._quick_features, query.undistorted, window, QUICK_PIXELS, SEARCH_MAX_SCALE)
        return self._agree(features, pose, query.pinhole)

    def _agree(self, features: Features, pose: Pose, camera: Camera) -> bool:
        at = PoseEstimate(pose, np.zeros(0, bool), 0.0, np.zeros((6, 6)))
        found = self._guided_pose(features, camera, at, 0)
        if found.pose is None:
            return False
        here, there = (camera.project(p.transform(self._points)) for p in (pose, found.pose))
        apart = float(np.nanmedian(np.linalg.norm(here - there, axis=1)))
        return apart <= ESTIMATE_ERROR / features.scale

    def localize(self, query: PreparedQuery, estimate: CoarseEstimate | None = None) -> Localization:
        """The pose of a query from all features of its window.

        estimate: the coarse one of the same query. What the image holds never raises: a query without a trustworthy
        pose, or with two parts in view, gets a reason.
        """
        window = self.part_window(query)
        if window is not None:
            found = self._in_window(query, window, query.part_mask)
            if found.localized or found.reason is Reason.SEVERAL_PARTS:
                return found
        # Another background than the trained one, or none that shows the part.
        frame = query.region or Rect.of_image(query.undistorted.shape)
        found = self._search(query, frame, estimate)
        if found.localized or found.reason is Reason.SEVERAL_PARTS or self.background.colour is not None:
            return found
        # Where few of its features are in the map, as between views in wide steps: all that the photograph holds.
        pixels = max(SEARCH_PIXELS, min(frame.area, self.settings.photo_pixels))
        features = extract_window(self._features.many(), query.undistorted, frame, pixels, SEARCH_MAX_SCALE)
        again = self._search(query, frame, self._of_frame(query, features, frame))
        return again if again.localized or again.inliers > found.inliers else found

    def most_similar_view(self, query: PreparedQuery) -> int:
        """Which view of the map looks most like the part's window, or like the frame where that is not found."""
        s, window = self.settings, self.part_window(query) or query.region or Rect.of_image(query.undistorted.shape)
        features = extract_window(self._features, query.undistorted, window, s.window_pixels, s.max_scale)
        return int(self._similar(features, query.undistorted[window.slices], 1)[0])

    def part_window(self, query: PreparedQuery) -> Rect | None:
        """The part's window with a margin; None where the part is not seen in front of its plain background."""
        share, box = query.part_box
        if box is None or not MIN_PART_SHARE < share < MAX_PART_SHARE:
            return None
        return grown_window(box, WINDOW_MARGIN, query.undistorted.shape)

    def _search(self, query: PreparedQuery, frame: Rect, estimate: CoarseEstimate | None) -> Localization:
        """Find the part in the whole frame by its landmarks, then look again at its window."""
        image, camera = query.undistorted, query.pinhole
        if estimate is None or not estimate.of_frame:
            features = extract_window(self._features, image, frame, SEARCH_PIXELS, SEARCH_MAX_SCALE)
            estimate = self._of_frame(query, features, frame)
        features, pairs, first = estimate.features, estimate.pairs, estimate.first
        if first is None:
            enough = len(pairs) >= MIN_COARSE_INLIERS
            window = densest_window(features.keypoints[pairs[:, 0]], image.shape[:2]) if enough else None
        else:
            window = self._window_at(first.pose, query)
        if window is None or first is not None and window.area > 0.5 * frame.area:
            found = self._guided_pose(features, camera, first, len(pairs))
        else:
            found = self._in_window(query, window, None)
        return self._single(found, features, pairs, camera)

    def _of_frame(self, query: PreparedQuery, features: Features, frame: Rect) -> CoarseEstimate:
        """What features of the whole frame come to before guided matching."""
        pairs = self._match(features, query.undistorted[frame.slices])
        first = self._first_pose(features, pairs, query.pinhole)
        return CoarseEstimate(Localization(None, Reason.NOT_LOCALIZED, ""), features, pairs, first, True)

    def _in_window(self, query: PreparedQuery, window: Rect, mask: Mask | None) -> Localization:
        s, camera = self.settings, query.pinhole
        features = extract_window(self._features, query.undistorted, window, s.window_pixels, s.max_scale)
        if mask is not None:
            features = features.take(inside_mask(features.keypoints, mask, MASK_MARGIN))
        pairs = self._match(features, query.undistorted[window.slices])
        found = self._guided_pose(features, camera, self._first_pose(features, pairs, camera), len(pairs))
        return self._single(found, features, pairs, camera)

    def _single(self, found: Localization, features: Features, pairs: Pairs, camera: Camera) -> Localization:
        """The pose found, unless there is another part outside of the one found."""
        if found.pose is None:
            return found
        low, high = self._extent(found.pose, camera)
        outside = _off_part(low, high, features, pairs)
        other = self._estimate(features, outside, camera, COARSE_ERROR, self.settings.min_inliers)
        if other is None:
            return found
        centre = np.nanmedian(camera.project(other.pose.transform(self._points)), axis=0)
        if np.all((centre >= low) & (centre <= high)):
            return found  # the rim of the same part
        (u, v), (x, y) = centre, 0.5 * (low + high)
        text = (
            f"two parts are in view, at ({x:.0f}, {y:.0f}) and ({u:.0f}, {v:.0f}): say by a region of interest "
            "which one is meant"
        )
        return Localization(None, Reason.SEVERAL_PARTS, text, found.inliers, found.matches)

    def _has_rival(self, pose: Pose, features: Features, pairs: Pairs, camera: Camera) -> bool:
        """Whether few features off the part may be of a second one: they make a pose at which it has a like size."""
        low, high = self._extent(pose, camera)
        outside = _off_part(low, high, features, pairs)
        other = self._estimate(features, outside, camera, ESTIMATE_ERROR, MIN_RIVAL_LANDMARKS)
        if other is None or len(np.unique(outside[other.inliers, 1])) < MIN_RIVAL_LANDMARKS:
            return False
        here, there = (
            float(np.ptp(extent, axis=0).max()) for extent in ((low, high), self._extent(other.pose, camera))
        )
        return here <= RIVAL_SIZE * there and there <= RIVAL_SIZE * here

    def _window_at(self, pose: Pose, query: PreparedQuery) -> Rect | None:
        """The part's window at a pose, with a margin."""
        low, high = self._extent(pose, query.pinhole)
        extent = Rect(int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1)
        return grown_window(extent, WINDOW_MARGIN, query.undistorted.shape[:2])

    def _extent(self, pose: Pose, camera: Camera) -> Array:
        """(lowest, highest) pixel [2, 2] of the landmarks at a pose, but for the outermost hundredth."""
        pixels = camera.project(pose.transform(self._points))
        return np.asarray(np.percentile(pixels[np.isfinite(pixels[:, 0])], [1, 99], axis=0))

    def _match(self, features: Features, window: Image) -> Pairs:
        """Pairs of features and landmarks, without any idea of the pose."""
        s = self.settings
        if self._matcher is not None:
            alike = self._similar(features, window, s.matched_views)
            return self._landmarks.match_views(features, self._matcher, alike)
        large = len(self._landmarks) > s.retrieve_above
        views = self._similar(features, window, s.retrieved_views) if large else None
        apart = SAME_LANDMARK * float(np.linalg.norm(self.gates.high - self.gates.low))
        return self._landmarks.match_all(features, MATCH_RATIO, apart, views)

    def _similar(self, features: Features, window: Image, count: int) -> NDArray[np.int64]:
        return most_similar(self._retrieval.describe(window, features), self._view_descriptors, count)

    def _first_pose(self, features: Features, pairs: Pairs, camera: Camera) -> PoseEstimate | None:
        """A first pose that enough of the matches support."""
        return self._estimate(features, pairs, camera, COARSE_ERROR, MIN_COARSE_INLIERS)

    def _estimate(
        self, features: Features, pairs: Pairs, camera: Camera, max_error: float, least: int = 0
    ) -> PoseEstimate | None:
        """The pose that the pairs give; max_error: window px; least: inliers that it must have."""
        pixels, points = features.keypoints[pairs[:, 0]], self._points[pairs[:, 1]]
        return estimate_pose(pixels, points, camera, max_error / features.scale, least)

    def _guided_pose(self, features: Features, camera: Camera, first: PoseEstimate | None, count: int) -> Localization:
        """Match again near the first pose, solve anew, and judge the result."""
        if first is None:
            text = f"no pose explains the matches to the part ({len(features)} features, {count} matches)"
            return Localization(None, Reason.NOT_LOCALIZED, text, matches=count)
        fine: PoseEstimate | None = first
        for radius in GUIDED_RADII:
            if fine is not None:
                pairs = self._landmarks.match_near(
                    features, fine.pose, camera, radius / features.scale, self._features.similarity, GUIDED_VIEWS
                )
                fine = self._estimate(features, pairs, camera, FINAL_ERROR)
        if fine is None:
            text = f"the first pose did not hold ({len(pairs)} matches near it)"
            return Localization(None, Reason.NOT_LOCALIZED, text, matches=len(pairs))
        inliers = int(fine.inliers.sum())
        weakness = self.gates.weakness(fine, len(pairs), features.scale)
        if weakness:
            return Localization(None, Reason.WEAK_POSE, weakness, inliers, len(pairs), fine.residual_px)
        return Localization(fine.pose, Reason.NONE, "localized", inliers, len(pairs), fine.residual_px, fine.covariance)


def _from_few(first: PoseEstimate | None, pairs: Pairs) -> Localization:
    """What a coarse estimate found."""
    if first is None:
        return Localization(None, Reason.NOT_LOCALIZED, "no pose from few features", matches=len(pairs))
    inliers = int(first.inliers.sum())
    return Localization(first.pose, Reason.NONE, "localized from few features", inliers, len(pairs), first.residual_px,
                        first.covariance)  # fmt: skip


def _off_part(low: Array, high: Array, features: Features, pairs: Pairs) -> Pairs:
    """The pairs outside the rectangle of the part."""
    at = features.keypoints[pairs[:, 0]]
    return pairs[np.any((at < low) | (at > high), axis=1)]
