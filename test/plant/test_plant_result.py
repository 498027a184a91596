"""What the plant is told: HOLD, and what contradicts itself, never looks good in any field."""

import itertools
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plant_cell import MODEL_HASH, message, result

import pad_ros.plant
from pad_ros.plant.opcua.records import ResultState, state_of
from pad_ros.plant.plant_result import believed, content, from_message, no_result
from pad_ros.verdicts import Reason, Verdict

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed (requirements-dev.txt)")
SCHEMA = json.loads((Path(pad_ros.plant.__file__).parent / "result.schema.json").read_text())


def told(found) -> dict:
    """As JSON, checked against the schema."""
    plain = json.loads(json.dumps(content(found, "cell_1", found.result_id("cell_1")), allow_nan=False))
    jsonschema.Draft202012Validator(SCHEMA).validate(plain)
    return plain


def never_good(found) -> None:
    plain = told(found)
    assert plain["good"] is False and plain["verdict"] != "PASS"
    assert state_of(found) is not ResultState.COMPLETED


def test_the_mapping_of_each_verdict():
    """The table of docs/plant.md."""
    expected = {Verdict.PASS: (1, True), Verdict.REJECT: (-1, False), Verdict.HOLD: (4, False)}
    for verdict, (state, good) in expected.items():
        found = result(verdict)
        assert (state_of(found), told(found)["good"], told(found)["verdict"]) == (state, good, verdict.name)


@pytest.mark.parametrize("reason", list(Reason))
def test_no_reason_makes_a_hold_good(reason):
    held = result(Verdict.HOLD, reason=int(reason))
    never_good(held)
    assert held.reason not in (Reason.NONE, Reason.ANOMALY)
    never_good(no_result("4711", 1, 2, reason, "nothing came"))


@pytest.mark.parametrize("changed", [
    {"verdict": 3}, {"verdict": 255}, {"reason": int(Reason.ANOMALY)}, {"reason": 999}, {"score": math.nan},
    {"score": math.inf}, {"threshold": math.nan}, {"score": 2.0}, {"model_hash": ""},
    {"defects": message(Verdict.REJECT).defects},
], ids=str)  # fmt: skip
def test_a_pass_that_contradicts_itself_is_hold(changed):
    found = from_message(message(**changed), 1)
    never_good(found)
    assert found.verdict is Verdict.HOLD and found.reason is Reason.INTERNAL_ERROR and found.reason_text


def test_a_pass_that_must_not_be_believed_is_hold():
    passed = result(Verdict.PASS)
    assert believed(passed, "", MODEL_HASH) is passed and believed(passed, "") is passed
    for doubtful in (believed(passed, "a stranger publishes results"), believed(passed, "", "ff" * 32)):
        never_good(doubtful)
    rejected = result(Verdict.REJECT)
    assert believed(rejected, "a stranger publishes results", "ff" * 32) is rejected


@given(
    verdict=st.just(1) | st.integers(0, 255), reason=st.just(0) | st.integers(0, 65535), score=st.floats(),
    threshold=st.floats(), text=st.text(), seconds=st.integers(-(2**31), 2**31 - 1), kind=st.integers(0, 255),
    defects=st.just(0) | st.integers(0, 40),
)  # fmt: skip
def test_whatever_a_message_holds_its_json_is_valid(verdict, reason, score, threshold, text, seconds, kind, defects):
    """And good only where everything says so."""
    made = message(Verdict.REJECT, reason=reason, score=score, threshold=threshold, reason_text=text)
    made.verdict = verdict
    made.part_id = made.model_name = text
    made.trigger_stamp.sec = seconds
    for defect in made.defects:
        defect.kind = kind
    made.defects = made.defects * defects
    found = from_message(made, 10**18)
    plain = told(found)
    everything = verdict == 1 and reason == 0 and defects == 0 and score <= threshold and math.isfinite(score)
    assert plain["good"] == (everything and math.isfinite(threshold))


def test_texts_that_no_utf8_has_are_told_all_the_same():
    assert "\ud800" not in json.dumps(told(result(part_id="\ud800")), ensure_ascii=False)


def test_result_ids_are_the_same_for_the_same_result_only():
    same = [result(trigger_ns=5), result(trigger_ns=5)]
    assert len({found.result_id("cell_1") for found in same}) == 1
    different = [result(), result(Verdict.REJECT), result(part_id="2"), result(trigger_ns=7)]
    ids = [found.result_id(cell) for found, cell in itertools.product(different, ("cell_1", "cell_2"))]
    assert len(set(ids)) == 8


def test_large_results_are_cut():
    made = message(Verdict.REJECT, part_id="x" * 5000)
    made.defects = made.defects * 500
    plain = told(from_message(made, 1))
    assert (len(plain["part_id"]), len(plain["defects"]), plain["defects_found"]) == (1000, 32, 500)
