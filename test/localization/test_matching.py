import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pad_ros.localization.features import Features
from pad_ros.localization.matching import NearestNeighbours, mutual_candidates, mutual_matches, normalised
from pad_ros.localization.retrieval import describe_view, learn_vocabulary, most_similar


def features(descriptors: np.ndarray) -> Features:
    count = len(descriptors)
    return Features(np.zeros((count, 2)), descriptors, np.ones(count, np.float32))


def random_descriptors(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 128)).astype(np.uint8)


@given(st.integers(0, 1000), st.integers(2, 30))
def test_a_shuffled_copy_is_matched_back(seed: int, count: int) -> None:
    original = random_descriptors(seed, count)
    order = np.random.default_rng(seed).permutation(count)
    pairs = NearestNeighbours(0.8).match(features(original), features(original[order]))
    assert len(pairs) == count
    np.testing.assert_array_equal(order[pairs[:, 1]], pairs[:, 0])


def test_ambiguous_matches_are_dropped() -> None:
    base = random_descriptors(0, 3)
    twice = np.concatenate([base, base[:1]])  # two equal candidates for the first
    pairs = NearestNeighbours(0.8).match(features(base), features(twice))
    assert 0 not in pairs[:, 0]
    assert len(pairs) == 2


def test_too_few_descriptors_give_no_pairs() -> None:
    for a, b in ((0, 5), (5, 0), (1, 5), (5, 1)):
        cosine = normalised(random_descriptors(1, a)) @ normalised(random_descriptors(2, b)).T
        assert mutual_matches(cosine, 0.8).shape == (0, 2)


def test_normalised_survives_zeros() -> None:
    rows = normalised(np.zeros((2, 4), np.uint8))
    assert rows.dtype == np.float32
    assert np.all(rows == 0)


def test_retrieval_finds_the_view_with_the_same_features() -> None:
    views = [random_descriptors(seed, 80) for seed in range(6)]
    vocabulary = learn_vocabulary(np.concatenate(views), words=8)
    vectors = np.stack([describe_view(view, vocabulary) for view in views])
    noisy = np.clip(views[4].astype(int) + np.random.default_rng(9).integers(-9, 10, (80, 128)), 0, 255)
    found = most_similar(describe_view(noisy.astype(np.uint8), vocabulary), vectors, 3)
    assert found[0] == 4
    assert len(found) == 3
    np.testing.assert_array_equal(vocabulary, learn_vocabulary(np.concatenate(views), words=8))


def test_retrieval_of_an_empty_image() -> None:
    vocabulary = learn_vocabulary(random_descriptors(0, 5))
    assert len(vocabulary) == 5
    assert np.all(describe_view(np.zeros((0, 128), np.uint8), vocabulary) == 0)


@given(st.integers(0, 1000), st.integers(2, 700), st.integers(2, 40), st.sampled_from([0.7, 0.9, 0.99]))
def test_candidates_are_the_mutual_matches(seed: int, count: int, others: int, ratio: float) -> None:
    """Also where they are found block by block."""
    a, b = normalised(random_descriptors(seed, count)), normalised(random_descriptors(seed + 1, others))
    np.testing.assert_array_equal(mutual_candidates(a, b).within(ratio), mutual_matches(a @ b.T, ratio))


def test_candidates_only_among_those_allowed() -> None:
    base = random_descriptors(0, 6)
    twice = normalised(np.concatenate([base, base]))  # each has two equal partners, one of them out of reach
    near = np.concatenate([np.eye(6, dtype=bool), np.zeros((6, 6), bool)], axis=1)
    found = mutual_candidates(normalised(base), twice, allowed=lambda rows: near[rows])
    np.testing.assert_array_equal(found.within(0.8), np.stack([np.arange(6)] * 2, axis=1))
    assert len(mutual_candidates(normalised(base), twice).within(0.8)) == 0
    assert len(found.alike(1.1).pairs) == 0


def test_candidates_of_too_few() -> None:
    for a, b in ((0, 5), (5, 0), (5, 1)):
        rows = normalised(random_descriptors(0, a)), normalised(random_descriptors(1, b))
        assert len(mutual_candidates(*rows).pairs) == 0
