import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pad_ros.reporting import charts

FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(deadline=None, max_examples=15)
@given(st.lists(FINITE, max_size=20), st.lists(FINITE, min_size=1, max_size=20), st.one_of(FINITE, st.just(np.nan)))
def test_histograms_hold_every_value(first, second, border):
    groups = [("a", np.array(first)), ("b", np.array([*second, np.nan]))]
    svg = charts.histogram_chart(groups, "x", charts.Marker(border, "limit"))
    texts = [node for node in ElementTree.fromstring(svg).iter("text") if "7px" in node.get("style")]
    assert sum(int(node.text) for node in texts) == len(first) + len(second)


@given(st.lists(st.floats(1e-3, 1e3), min_size=2), st.floats(1e-3, 1e3), st.booleans())
def test_no_bin_mixes_the_two_sides_of_the_border(values, border, log_x):
    edges = charts.bin_edges(np.array([*values, border]), border, log_x)
    assert np.isclose(edges, border, rtol=1e-6).any()
    assert edges[0] <= min(values) * (1 + 1e-9)
    assert edges[-1] >= max(values) * (1 - 1e-9)
    assert len(edges) <= 60


def test_an_empty_histogram_is_nothing():
    assert charts.histogram_chart([("a", np.array([np.nan]))], "x") == ""


def test_long_curves_are_thinned_and_cut_at_the_limit():
    x = np.linspace(0, 1, 50_000)
    svg = charts.curve_chart([("one", x, np.sqrt(x)), ("two <&>", x, x)], ("a", "b"), (0.0, 0.3), diagonal=True)
    ElementTree.fromstring(svg)
    assert len(svg) < 20_000
    assert "two &lt;&amp;&gt;" in svg
    cut_x, cut_y = charts._clipped(np.array([0.0, 0.2, 0.4]), np.array([0.0, 0.4, 0.8]), 0.3)
    assert (cut_x[-1], cut_y[-1]) == pytest.approx((0.3, 0.6))
