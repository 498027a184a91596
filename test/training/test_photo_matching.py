import numpy as np
from point_views import ring, seen_by
from textured_cube import ring_poses

from pad_ros.imaging.views import View
from pad_ros.localization.features import Features
from pad_ros.training.photo_matching import FEW_MATCHES, NEIGHBOURS, PhotoMatching, likely_pairs

MATCH = PhotoMatching(similarity=0.85)


def pair(first: Features, second: Features) -> tuple[tuple[View, View], tuple[Features, Features]]:
    views = ring(3)[0].views
    return (views[0], views[1]), (first, second)


def test_points_that_look_alike_are_matched_along_their_lines():
    """As the studs of a brick: nowhere else near its epipolar line lies another one."""
    poses = ring_poses(24)[:2]
    a, b = (seen_by(pose, count=240) for pose in poses)
    lonely = len(MATCH(*pair(a, b), 3.0, None))
    alike = [Features(one.keypoints, _two_alike(one.descriptors), one.scores) for one in (a, b)]
    plain = np.unique(alike[0].descriptors, axis=0)
    assert len(plain) < 0.8 * len(a)
    assert lonely < FEW_MATCHES
    assert len(MATCH(*pair(*alike), 3.0, None)) > 0.8 * lonely


def _two_alike(descriptors: np.ndarray) -> np.ndarray:
    """The last fifty look like the fifty before them."""
    changed = descriptors.copy()
    changed[-50:] = changed[-100:-50]
    return changed


def test_strangers_have_no_matches():
    first, stranger = seen_by(ring_poses(8)[0]), seen_by(ring_poses(8)[1], seed=9)
    assert len(MATCH(*pair(first, stranger), 3.0, None)) == 0
    assert len(PhotoMatching(0.85, ratio=0.95)(*pair(first, stranger), 3.0, None)) == 0


def test_chance_near_a_line_is_not_agreement():
    """Of 600 matches at random some thirty agree with the best of all geometries."""
    generator = np.random.default_rng(0)
    descriptors = generator.integers(0, 255, (600, 128)).astype(np.uint8)
    a, b = (Features(generator.uniform(0, 400, (600, 2)), descriptors, np.ones(600, np.float32)) for _ in range(2))
    assert len(MATCH(*pair(a, b), 3.0, None)) == 0


def test_few_features_tell_which_pairs_to_match():
    _, features = ring(12)
    strangers = [seen_by(ring_poses(12)[i], seed=20 + i) for i in range(12)]
    every = [(i, j) for i in range(24) for j in range(i + 1, 24)]
    chosen = likely_pairs([*features, *strangers], every)
    assert len(chosen) <= 24 * NEIGHBOURS
    assert {(i, j) for i, j in every if j < 12} <= set(chosen)
    assert likely_pairs(features, every[:3]) == every[:3]  # few views: all pairs
