"""Records: whatever comes as a message or an inspection becomes something that a database takes."""

import math
from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from station_records import NOON

from pad_ros.decision.inspection import Conditions, DefectKind, DefectRegion, Inspection
from pad_ros.imaging.geometry import Pose
from pad_ros.localization.result import Localization
from pad_ros.station.record import MAX_DEFECTS, MAX_TEXT, reason_name, record_of_inspection, record_of_message
from pad_ros.verdicts import Reason, Verdict

numbers = st.floats(width=32)
places = st.builds(SimpleNamespace, x=numbers, y=numbers, z=numbers)
stamps = st.builds(SimpleNamespace, sec=st.integers(-(2**31), 2**31 - 1), nanosec=st.integers(0, 2**32 - 1))
whole = st.integers(0, 2**32 - 1)
boxes = st.builds(SimpleNamespace, x_offset=whole, y_offset=whole, width=whole, height=whole)
found = st.builds(SimpleNamespace, box=boxes, centroid=places, peak_score=numbers, area=whole, kind=st.integers(0, 255))
quaternions = st.builds(SimpleNamespace, x=numbers, y=numbers, z=numbers, w=numbers)
messages = st.builds(
    SimpleNamespace,
    header=st.builds(SimpleNamespace, stamp=stamps, frame_id=st.text()), part_id=st.text(), model_name=st.text(),
    model_hash=st.text(), verdict=st.integers(0, 255), reason=st.integers(0, 65535), reason_text=st.text(),
    score=numbers, threshold=numbers, p_value=numbers, view_share=numbers, light_change=numbers, sharpness=numbers,
    defects=st.lists(found, max_size=4),
    pose=st.builds(
        SimpleNamespace, pose=st.builds(SimpleNamespace, position=places, orientation=quaternions),
        covariance=st.just([-1.0] + 35 * [0.0]),
    ),
    localize_ms=numbers, render_ms=numbers, score_ms=numbers, total_ms=numbers, trigger_stamp=stamps,
)  # fmt: skip


@given(messages, st.integers(-(2**70), 2**70))
def test_any_message_becomes_a_record(msg, time_ns):
    record = record_of_message(msg, time_ns=time_ns, cell="/cell")
    values = [
        record.score,
        record.threshold,
        record.p_value,
        record.sharpness,
        *record.latencies_ms,
        *(record.pose or ()),
    ]
    assert all(value is None or math.isfinite(value) for value in values)
    assert 0 <= record.time_ns < 2**63 and 0 <= record.image_ns < 2**63
    for value in (record.part_id, record.reason_text, record.model_hash):
        assert "\0" not in value and len(value) <= MAX_TEXT
        value.encode()
    assert record.verdict is (Verdict(msg.verdict) if msg.verdict < 3 else Verdict.HOLD)
    for defect in record.defects:
        assert max(defect.box) < 2**31 and defect.kind in {*(k.name for k in DefectKind), "UNKNOWN"}
        assert defect.place is None or all(map(math.isfinite, defect.place))


def test_an_inspection_is_kept_with_all_that_is_known_of_it():
    pose = Pose.look_at(np.array([1.0, 2, 3]), np.zeros(3), np.array([0.0, 0, 1]))
    defects = tuple(DefectRegion((1, 2, 3, 4), 9, 3.0, (0.1, 0.2, math.nan), DefectKind.MISSING) for _ in range(200))
    inspection = Inspection(
        Verdict.REJECT, Reason.ANOMALY, "score", 3.0, 1.5, defects, Localization(pose, Reason.NONE, ""), None, None,
        None, {"localize": 5.0, "total": 9.0}, 0.1, Conditions(view_share=0.99, light=0.02, sharpness=1.1),
    )  # fmt: skip
    record = record_of_inspection(
        inspection, time_ns=NOON, cell="bench", part_id="7", model_name="m", model_hash="h", source="a.png"
    )
    assert (record.score, record.p_value, record.sharpness) == (3.0, 0.1, 1.1)
    assert record.latencies_ms == (5.0, None, None, 9.0)
    assert len(record.defects) == MAX_DEFECTS and record.defects[0].place is None
    assert np.allclose(record.pose[:3], pose.translation)


def test_reasons_of_other_versions_keep_their_number():
    assert reason_name(26) == "LIGHT"
    assert reason_name(999) == "999"
