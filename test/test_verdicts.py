"""Verdicts and reasons: the same numbers as in the message, and which error leads to which reason."""

import re
from pathlib import Path

import pytest

from pad_ros import errors
from pad_ros.errors import PadError
from pad_ros.verdicts import Reason, Verdict, reason_of

EXPECTED = {
    errors.InputError: Reason.INTERNAL_ERROR,
    errors.ImageError: Reason.BAD_IMAGE,
    errors.CameraError: Reason.CAMERA_MISMATCH,
    errors.SceneError: Reason.SCENE_MISMATCH,
    errors.ModelError: Reason.INTERNAL_ERROR,
    errors.TrainingError: Reason.INTERNAL_ERROR,
    errors.MissingDependencyError: Reason.INTERNAL_ERROR,
}


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(other) for other in kind.__subclasses__()))


def test_every_error_has_its_reason() -> None:
    """Those of the stages; what the plant and the station raise never reaches them."""
    found = {kind for kind in subclasses(PadError) if kind.__module__ == errors.__name__}
    assert found - {PadError} == set(EXPECTED)


@pytest.mark.parametrize("kind, expected", EXPECTED.items())
def test_an_error_of_the_product(kind: type[PadError], expected: Reason) -> None:
    for stage in ("", "localize"):
        reason, text = reason_of(kind("what, why and where"), stage)
        assert reason is expected and "what, why and where" in text
        if expected is not Reason.INTERNAL_ERROR:
            assert text == "what, why and where"


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError("too much"), KeyError("x"), ZeroDivisionError()])
def test_any_other_exception_is_an_internal_error_of_its_stage(error: Exception) -> None:
    reason, text = reason_of(error, "score")
    assert reason is Reason.INTERNAL_ERROR and text.startswith(f"score: {type(error).__name__}")
    assert reason_of(error)[1].startswith(type(error).__name__)


def test_a_more_special_error_keeps_the_reason() -> None:
    class OddImage(errors.ImageError):
        pass

    assert reason_of(OddImage("odd"))[0] is Reason.BAD_IMAGE
    del OddImage


def test_the_message_has_the_same_numbers(repository: Path) -> None:
    text = (repository / "msg" / "InspectionResult.msg").read_text(encoding="utf-8")
    found = {kind: dict(re.findall(rf"^{kind} (\w+)=(\d+)", text, re.MULTILINE)) for kind in ("uint8", "uint16")}
    assert {name: int(number) for name, number in found["uint8"].items()} == {v.name: int(v) for v in Verdict}
    assert {name: int(number) for name, number in found["uint16"].items()} == {r.name: int(r) for r in Reason}
