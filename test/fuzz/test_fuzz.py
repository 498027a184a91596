"""Damaged inputs of every parser: a few hundred in each run, the same ones; `make fuzz` looks for new ones.

Hypothesis chooses where whole inputs are cut, changed, repeated and mixed.
"""

import parsers
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ODD = (
    b"\x00",
    b"\xff",
    b"\xff" * 8,
    b"\x00" * 8,
    b"\x7f\xff\xff\xff",
    b"-1",
    b"1e999",
    b"NaN",
    b"[" * 3000,
    b"\n",
    b"\xf0\x9f",
    b'"',
)


@st.composite
def damaged(draw, name):
    """A whole input with one to four changes."""
    whole = parsers.seeds(name)
    data = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 16))
        kind = draw(st.sampled_from(("cut", "flip", "put", "drop", "repeat", "splice")))
        if kind == "cut":
            del data[at:]
        elif kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "put":
            data[at : at + draw(st.integers(0, 8))] = draw(st.sampled_from(ODD) | st.binary(max_size=8))
        elif kind == "drop":
            del data[at : at + length]
        elif kind == "repeat":
            data[at:at] = data[at : at + length] * draw(st.integers(1, 50))
        elif kind == "splice":
            other = draw(st.sampled_from(whole))
            data[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


@pytest.mark.parametrize("name", sorted(parsers.PARSERS))
def test_whole_inputs_are_read(name):
    assert any(parsers.run(name, data) for data in parsers.seeds(name))


@pytest.mark.parametrize("name", sorted(parsers.PARSERS))
def test_what_once_broke_a_parser_does_not_any_more(name):
    for data in parsers.found(name):
        parsers.run(name, data)


@pytest.mark.parametrize("name", sorted(parsers.PARSERS))
def test_damaged_inputs_are_refused_in_plain_words(name):
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(damaged(name))
    def check(data):
        parsers.run(name, data)

    check()
