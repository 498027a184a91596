"""Localizer: the camera's pose for one query image, or the reason why there is none.

Coarse to fine: find the part's window; match its features to one mean descriptor per landmark and solve PnP;
then match again near where the landmarks project, against what the views closest to that pose saw, and solve anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..imaging.background import Background, Mask, mask_box, part_mask
from ..imaging.geometry import Array, Camera, Pose
from ..imaging.images import Image
from ..imaging.rect import Rect
from ..networks.network import Network, by_name
from ..verdicts import Reason
from .choices import (
    FeatureName,
    MatcherName,
    RetrievalName,
    create_features,
    create_matcher,
    create_retrieval,
    needed_networks,
    same_features,
)
from .features import Features, extract_window, inside_mask
from .landmarks import LandmarkIndex
from .matching import Pairs
from .pnp import PoseEstimate, estimate_pose
from .result import Localization
from .retrieval import most_similar
from .sfm_map import SfmMap

MIN_WINDOW = 16  # px, shorter side


@dataclass(frozen=True)
class LocalizationSettings:
    """How to look for the part, and which poses to trust. window px are pixels of the resized window."""

    # What finds points again, and views; see `choices`. The map is made with the same.
    features: FeatureName = "sift"
    matcher: MatcherName = "nearest"
    retrieval: RetrievalName = "vlad"

    # Finding the part and its features
    window_pixels: int = 400_000  # the part's window is resized to about this many pixels,
    max_scale: float = 2.0  # but enlarged by no more than this
    search_pixels: int = 400_000  # the same for the whole frame, where the background does not tell the part
    search_scale: float = 1.5
    min_part_share: float = 0.002  # of the frame; less or more than this is no part before its ground
    max_part_share: float = 0.7
    quick_pixels: int = 50_000  # of a first look, where the pose is refined and verified afterwards
    box_margin: float = 0.04  # around the part, share of the box's longer side
    mask_margin: int = 2  # px that features may lie outside the silhouette
    min_contrast: float = 4.0  # standard deviation of grey levels below which an image shows nothing

    # Matching
    ratio: float = 0.9  # of the distances to the best and to the second best landmark
    same_landmark: float = 0.01  # landmarks closer than this share of the part do not compete in the ratio test
    retrieve_above: int = 10_000  # landmarks from which only those of the most similar views are matched,
    retrieved_views: int = 20  # and how many views these are
    matched_views: int = 5  # most similar views that a matcher other than "nearest" compares the query with
    guided_views: int = 8  # views nearest to the coarse pose that give descriptors to the second matching
    guided_radius: float = 16.0  # window px around a projected landmark,
    final_radius: float = 4.0  # and once more, closer, around the pose found so
    guided_cosine: float = 0.0  # least similarity in there; 0: what suits the features

    # Poses
    coarse_error: float = 8.0  # window px up to which a match supports the coarse pose
    quick_error: float = 4.0  # the same for the pose of a first look,
    max_error: float = 2.5  # and for the final pose
    min_coarse_inliers: int = 10
    min_quick_inliers: int = 6
    min_inliers: int = 20  # foreign objects reached 14, right poses 95 and more
    min_inlier_share: float = 0.5  # of the guided matches; right poses had 0.7 and more
    max_residual: float = 1.8  # root mean square, window px
    max_rotation_deviation: float = 1.0  # degrees
    max_shift_deviation: float = 0.02  # share of the distance

    def __post_init__(self) -> None:
        needed_networks(self.features, self.matcher, self.retrieval)  # InputError for what does not go together

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks needed, under their names in `pad_ros.weights`."""
        return needed_networks(self.features, self.matcher, self.retrieval)

    def check_map(self, sfm_map: SfmMap) -> None:
        """ModelError where the map was made with other features or another retrieval."""
        if not same_features(sfm_map.features, self.features):
            raise ModelError(
                f"the map was made with the features {sfm_map.features!r}, the settings say {self.features!r}: "
                "train the model anew"
            )
        if (self.retrieval == "vlad") != (sfm_map.vocabulary.size > 0):
            raise ModelError(f"the map was not made for retrieval by {self.retrieval}: train the model anew")


@dataclass(frozen=True, eq=False)
class FirstLook:
    """A pose, or none, from few features or from those of the whole frame, and what it came from."""

    found: Localization
    features: Features
    pairs: Pairs  # of features and landmarks
    coarse: PoseEstimate | None
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
        s.check_map(sfm_map)
        named = by_name(networks)
        self._points = sfm_map.points
        self._features = create_features(s.features, named, device)
        self._quick_features = self._features.quick()
        self._matcher = create_matcher(s.matcher, s.features, named, device)
        self._retrieval = create_retrieval(s.retrieval, named, sfm_map.vocabulary, device)
        self._view_descriptors = sfm_map.view_descriptors
        self._landmarks = LandmarkIndex(sfm_map)
        self._low, self._high = np.percentile(sfm_map.points, [1, 99], axis=0)
        centres = np.array([pose.centre for pose in sfm_map.poses])
        # Without a plain background the landmarks are those of a scene, which the camera may well be inside of.
        self._seen_from_outside = background.colour is not None and not np.any(self._inside(centres))

    def quick_look(self, image: Image, camera: Camera, roi: Rect | None = None) -> FirstLook | None:
        """A pose from a small window, for whoever can refine and verify it: often within a pixel, sometimes wrong.

        Before another ground than the trained one, or without one, from the whole frame or `roi`. None where looking
        closely at once takes hardly longer.
        """
        s = self.settings
        if self._quick_features is None:
            return None
        part = self.part_in_view(image, roi)
        if part is None:
            frame = roi or Rect.of_image(image.shape)
            features = extract_window(self._features, image, frame, s.search_pixels, s.search_scale)
            pairs = self._match(features, _cut(image, frame))
            coarse, least = self._coarse_pose(features, pairs, camera), s.min_coarse_inliers
        else:
            mask, box = part
            features = extract_window(self._quick_features, image, box, s.quick_pixels, 1.0)
            features = features.take(inside_mask(features.keypoints, mask, s.mask_margin))
            pairs = self._match(features, _cut(image, box))
            pixels, points = features.keypoints[pairs[:, 0]], self._points[pairs[:, 1]]
            coarse, least = estimate_pose(pixels, points, camera, s.quick_error / features.scale), s.min_quick_inliers
        inliers = 0 if coarse is None else int(coarse.inliers.sum())
        if coarse is None or inliers < least:
            found = Localization(None, Reason.NOT_LOCALIZED, "nothing at first sight", inliers, len(pairs))
        else:
            text = "localized at first sight"
            found = Localization(
                coarse.pose, Reason.NONE, text, inliers, len(pairs), coarse.residual_px, coarse.covariance
            )
        return FirstLook(self._alone(found, features, pairs, camera), features, pairs, coarse, part is None)

    def confirms(self, look: FirstLook, pose: Pose, camera: Camera) -> bool:
        """Whether the features of a first look, matched near `pose`, meet what `localize` asks, and agree with it.

        To agree, they must put the landmarks within `quick_error` window px (median) of where `pose` does.
        """
        at = PoseEstimate(pose, np.zeros(0, bool), 0.0, np.zeros((6, 6)))
        found = self._fine_pose(look.features, camera, at, look.found.matches)
        if found.pose is None:
            return False
        here, there = (camera.project(p.transform(self._points)) for p in (pose, found.pose))
        apart = float(np.nanmedian(np.linalg.norm(here - there, axis=1)))
        return apart <= self.settings.quick_error / look.features.scale

    def localize(
        self, image: Image, camera: Camera, roi: Rect | None = None, look: FirstLook | None = None
    ) -> Localization:
        """The pose of `image` [H, W, 3], undistorted, taken with the pinhole `camera`.

        roi: (x0, y0, x1, y1) px, where to look for the part. look: the first one at the same. What the image holds
        never raises: a query without a trustworthy pose, or with two parts in view, gets a reason.
        """
        contrast = float(image[::4, ::4].std())
        if contrast < self.settings.min_contrast:
            text = f"the image is nearly uniform (standard deviation {contrast:.1f} grey levels)"
            return Localization(None, Reason.NO_CONTENT, text)
        part = self.part_in_view(image, roi)
        if part is not None:
            mask, box = part
            found = self._in_window(image, camera, box, mask)
            if found.localized or found.reason is Reason.SEVERAL_PARTS:
                return found
        # Another ground than the trained one, or none that tells the part.
        return self._search(image, camera, roi or Rect.of_image(image.shape), look)

    def part_in_view(self, image: Image, roi: Rect | None = None) -> tuple[Mask, Rect] | None:
        """The part's silhouette [H, W] and its box with a margin; None where it is not seen before its plain ground."""
        mask = part_mask(image, self.background)
        if mask is None:
            return None
        if roi is not None:
            mask &= _inside_box(mask.shape, roi)
        share, box = float(mask.mean()), mask_box(mask)
        if box is None or not self.settings.min_part_share < share < self.settings.max_part_share:
            return None
        grown = _grown(box, self.settings.box_margin, mask.shape)
        return None if grown is None else (mask, grown)

    def _search(self, image: Image, camera: Camera, frame: Rect, look: FirstLook | None) -> Localization:
        """Find the part in the whole frame by its landmarks, then look again at its window."""
        s = self.settings
        if look is not None and look.of_frame:
            features, pairs, coarse = look.features, look.pairs, look.coarse
        else:
            features = extract_window(self._features, image, frame, s.search_pixels, s.search_scale)
            pairs = self._match(features, _cut(image, frame))
            coarse = self._coarse_pose(features, pairs, camera)
        if coarse is None:
            box = self._densest_window(features, pairs, image.shape[:2])
        else:
            low, high = self._extent(coarse.pose, camera)
            around = Rect(int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1)
            box = _grown(around, s.box_margin, image.shape[:2])
        if box is None or coarse is not None and _area(box) > 0.5 * _area(frame):
            found = self._fine_pose(features, camera, coarse, len(pairs))
        else:
            found = self._in_window(image, camera, box, None)
        return self._alone(found, features, pairs, camera)

    def _in_window(self, image: Image, camera: Camera, box: Rect, mask: Mask | None) -> Localization:
        s = self.settings
        features = extract_window(self._features, image, box, s.window_pixels, s.max_scale)
        if mask is not None:
            features = features.take(inside_mask(features.keypoints, mask, s.mask_margin))
        pairs = self._match(features, _cut(image, box))
        found = self._fine_pose(features, camera, self._coarse_pose(features, pairs, camera), len(pairs))
        return self._alone(found, features, pairs, camera)

    def _alone(self, found: Localization, features: Features, pairs: Pairs, camera: Camera) -> Localization:
        """The pose found, unless what lies beside that part is another one of them."""
        if found.pose is None:
            return found
        s = self.settings
        low, high = self._extent(found.pose, camera)
        at = features.keypoints[pairs[:, 0]]
        beside = pairs[np.any((at < low) | (at > high), axis=1)]
        if len(beside) < s.min_inliers:
            return found
        other = self._coarse_pose(features, beside, camera)
        if other is None or other.inliers.sum() < s.min_inliers:
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

    def _extent(self, pose: Pose, camera: Camera) -> Array:
        """(lowest, highest) pixel [2, 2] of the landmarks at a pose, but for the outermost hundredth."""
        pixels = camera.project(pose.transform(self._points))
        return np.asarray(np.percentile(pixels[np.isfinite(pixels[:, 0])], [1, 99], axis=0))

    def _match(self, features: Features, window: Image) -> Pairs:
        """Pairs of features and landmarks, without any idea of the pose."""
        s = self.settings
        if self._matcher is not None:
            return self._landmarks.match_views(
                features, self._matcher, self._similar(features, window, s.matched_views)
            )
        large = len(self._landmarks) > s.retrieve_above
        views = self._similar(features, window, s.retrieved_views) if large else None
        apart = s.same_landmark * float(np.linalg.norm(self._high - self._low))
        return self._landmarks.match_all(features, s.ratio, apart, views)

    def _similar(self, features: Features, window: Image, count: int) -> NDArray[np.int64]:
        return most_similar(self._retrieval.describe(window, features), self._view_descriptors, count)

    def _coarse_pose(self, features: Features, pairs: Pairs, camera: Camera) -> PoseEstimate | None:
        """A first pose that enough of the matches support."""
        error = self.settings.coarse_error / features.scale
        found = estimate_pose(features.keypoints[pairs[:, 0]], self._points[pairs[:, 1]], camera, error)
        if found is not None and found.inliers.sum() < self.settings.min_coarse_inliers:
            found = None
        return found

    def _fine_pose(self, features: Features, camera: Camera, coarse: PoseEstimate | None, count: int) -> Localization:
        """Match again near the coarse pose, solve anew, and judge the result."""
        s = self.settings
        if coarse is None:
            text = f"no pose explains the matches to the part ({len(features)} features, {count} matches)"
            return Localization(None, Reason.NOT_LOCALIZED, text, matches=count)
        fine: PoseEstimate | None = coarse
        for radius in (s.guided_radius, s.final_radius):
            if fine is not None:
                pairs = self._landmarks.match_near(
                    features,
                    fine.pose,
                    camera,
                    radius / features.scale,
                    s.guided_cosine or self._features.similarity,
                    s.guided_views,
                )
                fine = estimate_pose(
                    features.keypoints[pairs[:, 0]], self._points[pairs[:, 1]], camera, s.max_error / features.scale
                )
        if fine is None:
            text = f"the first pose did not hold ({len(pairs)} matches near it)"
            return Localization(None, Reason.NOT_LOCALIZED, text, matches=len(pairs))
        inliers = int(fine.inliers.sum())
        weakness = self._weakness(fine, inliers, len(pairs), features.scale)
        if weakness:
            return Localization(None, Reason.WEAK_POSE, weakness, inliers, len(pairs), fine.residual_px)
        return Localization(fine.pose, Reason.NONE, "localized", inliers, len(pairs), fine.residual_px, fine.covariance)

    def _weakness(self, found: PoseEstimate, inliers: int, matches: int, scale: float) -> str | None:
        """Why the pose is not to be trusted; None if it is."""
        s = self.settings
        if inliers < s.min_inliers:
            return f"only {inliers} of {matches} matches support the pose, {s.min_inliers} are needed"
        if inliers < s.min_inlier_share * matches:
            return f"only {inliers} of {matches} matches support the pose, a share of {s.min_inlier_share} is needed"
        if found.residual_px > s.max_residual / scale:
            return f"the pose leaves {found.residual_px:.2f} px of error, {s.max_residual / scale:.2f} are allowed"
        uncertain = self.uncertain(found.pose, found.covariance)
        if uncertain:
            return f"the matches leave the pose uncertain by {uncertain}"
        if self._seen_from_outside and self._inside(found.pose.centre[None])[0]:
            return "the pose puts the camera inside the part"
        return None

    def uncertain(self, pose: Pose, covariance: Array) -> str | None:
        """By how much a pose is more uncertain than may be, None if it is not."""
        rotation = float(np.degrees(np.sqrt(np.trace(covariance[:3, :3]))))
        distance = float(np.linalg.norm(pose.centre - 0.5 * (self._low + self._high)))
        shift = float(np.sqrt(np.trace(covariance[3:, 3:]))) / max(distance, 1e-12)
        if rotation <= self.settings.max_rotation_deviation and shift <= self.settings.max_shift_deviation:
            return None
        return f"{rotation:.1f} deg and {100 * shift:.1f} % of the distance"

    def _inside(self, centres: Array) -> NDArray[np.bool_]:
        return np.asarray(np.all((centres > self._low) & (centres < self._high), axis=1))

    def _densest_window(self, features: Features, pairs: Pairs, shape: tuple[int, int]) -> Rect | None:
        """Half the frame's short side around the place where most features match the map."""
        if len(pairs) < self.settings.min_coarse_inliers:
            return None
        points = features.keypoints[pairs[:, 0]]
        half = 0.25 * min(shape)
        near = np.abs(points[:, None] - points[None]).max(axis=2) < half
        centre = np.median(points[near[near.sum(axis=1).argmax()]], axis=0)
        corner = (int(centre[0] - half), int(centre[1] - half))
        return _grown(Rect(*corner, corner[0] + int(2 * half), corner[1] + int(2 * half)), 0.0, shape)


def _inside_box(shape: tuple[int, ...], box: Rect) -> Mask:
    inside = np.zeros(shape, bool)
    inside[box[1] : box[3], box[0] : box[2]] = True
    return inside


def _cut(image: Image, box: Rect) -> Image:
    return image[box[1] : box[3], box[0] : box[2]]


def _area(box: Rect) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _grown(box: Rect, margin: float, shape: tuple[int, int]) -> Rect | None:
    """The box grown by a share of its longer side and clipped to the image; None where too little is left."""
    grow = round(margin * max(box[2] - box[0], box[3] - box[1]))
    x0, y0 = max(box[0] - grow, 0), max(box[1] - grow, 0)
    x1, y1 = min(box[2] + grow, shape[1]), min(box[3] + grow, shape[0])
    return Rect(x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= MIN_WINDOW else None
