"""IoU and F1 of masks of changes."""

import math

import numpy as np
import pytest

from pad_ros.evaluation.change_masks import change_figures


def mask(*columns: int) -> np.ndarray:
    found = np.zeros((4, 8), bool)
    found[:, list(columns)] = True
    return found


def test_figures_are_means_over_photographs_with_a_change():
    figures = change_figures([mask(0, 1), mask(2), mask()], [mask(1, 2), mask(2), mask()])
    assert figures.miou == pytest.approx((1 / 3 + 1) / 2) and figures.f1 == pytest.approx((1 / 2 + 1) / 2)
    assert figures.clean == 1


def test_what_is_found_where_nothing_changed_counts_apart():
    figures = change_figures([mask(3), mask()], [mask(), mask()])
    assert figures.clean == 0.5 and math.isnan(figures.miou)


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match="differs in size"):
        change_figures([mask()[:2]], [mask()])
