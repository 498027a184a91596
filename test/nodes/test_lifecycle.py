"""The stages as managed nodes: transitions, their reasons, change of part, /diagnostics."""

import pytest
from fake_inspector import FakeInspector, write_bundle

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from lifecycle_msgs.msg import State, Transition, TransitionEvent  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from pad_ros.msg import InspectionResult as R  # noqa: E402
from pad_ros.msg import Trigger  # noqa: E402
from pad_ros.srv import LoadModel  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.localizer import LocalizerNode  # noqa: E402
from pad_ros.nodes.renderer import RendererNode  # noqa: E402
from pad_ros.nodes.scorer import ScorerNode  # noqa: E402

CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = (
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_CLEANUP,
    Transition.TRANSITION_ACTIVATE,
    Transition.TRANSITION_DEACTIVATE,
)


def change(graph, node, transition) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return graph.call(ChangeState, f"{node}/change_state", request).success


def state(graph, node) -> int:
    return graph.call(GetState, f"{node}/get_state", GetState.Request()).current_state.id


def report(graph, messages, node) -> DiagnosticStatus:
    """The next report of a node."""
    before = len(messages)

    def found():
        return [s for m in list(messages)[before:] for s in m.status if s.name.startswith(f"/{node}:")]

    graph.wait(lambda: bool(found()), f"a report of {node}")
    return found()[-1]


@pytest.mark.parametrize("node_class", [CellNode, LocalizerNode, RendererNode, ScorerNode])
def test_all_states_by_a_manager(graph, node_class):
    node = graph.add(node_class, autostart=False)
    name = node.get_name()
    events = graph.listen(TransitionEvent, f"{name}/transition_event")
    assert state(graph, name) == State.PRIMARY_STATE_UNCONFIGURED
    assert node.inspector is None and not any(True for p in node.publishers if p.topic.endswith(("result", "view")))
    assert change(graph, name, CONFIGURE)
    assert node.inspector is not None
    assert state(graph, name) == State.PRIMARY_STATE_INACTIVE
    for _ in range(2):
        assert change(graph, name, ACTIVATE)
        assert state(graph, name) == State.PRIMARY_STATE_ACTIVE
        assert change(graph, name, DEACTIVATE)
    assert change(graph, name, CLEANUP)
    assert node.inspector is None
    assert state(graph, name) == State.PRIMARY_STATE_UNCONFIGURED
    graph.wait(lambda: bool(events), "transition events")
    assert change(graph, name, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert state(graph, name) == State.PRIMARY_STATE_FINALIZED


def test_frames_are_taken_only_while_active(graph):
    cell = graph.add(CellNode, autostart=False)
    results = graph.results()
    cell.trigger_configure()
    graph.wait_matched("result")
    images = graph.tester.create_publisher(Image, "image_raw", 20)
    images.publish(graph.image(75))
    graph.settle()
    assert not results and images.get_subscription_count() == 0
    cell.trigger_activate()
    graph.wait(lambda: images.get_subscription_count() == 1, "the cell")
    images.publish(graph.image(75))
    graph.wait(lambda: bool(results), "a result")
    cell.trigger_deactivate()
    graph.wait(lambda: images.get_subscription_count() == 0, "the cell to leave")
    images.publish(graph.image(75))
    graph.settle()
    assert [r.verdict for r in results] == [R.PASS]


def test_deactivation_answers_what_is_open(graph, monkeypatch):
    import threading

    gate = threading.Event()
    localize = FakeInspector.localize
    monkeypatch.setattr(FakeInspector, "localize", lambda self, *args: (gate.wait(20), localize(self, *args))[1])
    cell = graph.add(CellNode, triggered=True, trigger_timeout=20.0)
    images, triggers, results = (
        graph.publisher(Image, "image_raw"),
        graph.publisher(Trigger, "trigger"),
        graph.results(),
    )
    graph.wait_matched("result")
    for part in ("A1", "A2", "A3"):
        graph.trigger(triggers, Trigger(part_id=part), cell)
        if part != "A3":
            images.publish(graph.image(75))
            graph.wait(lambda: not graph.waiting(cell), "the image to be taken")
    gate.set()
    cell.trigger_deactivate()
    graph.wait(lambda: len(results) == 3, "three results")
    found = {r.part_id: (r.verdict, r.reason) for r in results}
    assert found == {"A1": (R.PASS, R.NONE), "A2": (R.PASS, R.NONE), "A3": (R.HOLD, R.DROPPED)}


def test_a_failed_configure_says_why_and_can_be_mended(graph, tmp_path):
    diagnostics = graph.listen(DiagnosticArray, "/diagnostics")
    cell = graph.add(CellNode, autostart=False, model=str(tmp_path / "nothing"))
    assert not change(graph, "cell", CONFIGURE)
    assert state(graph, "cell") == State.PRIMARY_STATE_UNCONFIGURED
    status = report(graph, diagnostics, "cell")
    assert status.level == DiagnosticStatus.ERROR and "not a reference model" in status.message
    cell.set_parameters([Parameter("model", value=str(write_bundle(tmp_path / "mended")))])
    assert change(graph, "cell", CONFIGURE)
    assert change(graph, "cell", ACTIVATE)
    status = report(graph, diagnostics, "cell")
    assert (status.level, status.message) == (DiagnosticStatus.OK, "active")


def test_an_exception_in_a_transition_is_an_error_with_its_reason(graph, monkeypatch):
    def fail(self):
        raise RuntimeError("no publishers today")

    cell = graph.add(CellNode, autostart=False)
    monkeypatch.setattr(CellNode, "open_outputs", fail)
    assert not change(graph, "cell", CONFIGURE)
    assert cell.problem == "RuntimeError: no publishers today"
    assert cell.inspector is None and cell.state == "unconfigured"


def test_without_a_model_parameter_a_managed_node_waits(graph):
    cell = graph.add(CellNode, autostart=False, model="")
    assert not change(graph, "cell", CONFIGURE)
    assert "no model given" in cell.problem


def test_load_model_changes_the_part_for_good(graph, tmp_path):
    cell = graph.add(CellNode)
    path = str(write_bundle(tmp_path / "other", "other"))
    assert graph.call(LoadModel, "load_model", LoadModel.Request(path=path)).success
    for transition in (DEACTIVATE, CLEANUP):
        assert change(graph, "cell", transition)
    answer = graph.call(LoadModel, "load_model", LoadModel.Request(path=path))
    assert not answer.success and "unconfigured" in answer.message
    for transition in (CONFIGURE, ACTIVATE):
        assert change(graph, "cell", transition)
    assert cell.inspector.model.name == "other"


@pytest.mark.parametrize("name", ["loader\udcff", "part \ud800"])
def test_a_model_whose_name_fits_into_no_message_is_refused(graph, tmp_path, monkeypatch, name):
    """A manifest may hold any escape; the answer must go out all the same."""
    graph.add(CellNode)
    images, results = graph.publisher(Image, "image_raw"), graph.results()
    graph.wait_matched("result")
    path = write_bundle(tmp_path / "other")
    monkeypatch.setattr(FakeInspector, "load", lambda *_: FakeInspector(name))
    monkeypatch.setattr(graph.nodes[0], "_load", FakeInspector.load)
    answer = graph.call(LoadModel, "load_model", LoadModel.Request(path=str(path)))
    assert not answer.success and "UnicodeEncodeError" in answer.message
    assert answer.model_name == "fake"
    images.publish(graph.image(75))
    graph.wait(lambda: bool(results), "a result")
    assert (results[0].verdict, results[0].model_name) == (R.PASS, "fake")


def test_models_come_from_their_root_only(graph, tmp_path):
    root = tmp_path / "models"
    inside, outside = write_bundle(root / "a", "a"), write_bundle(tmp_path / "outside", "outside")
    (root / "link").symlink_to(outside)
    leaking = write_bundle(root / "leaking", "leaking")
    (leaking / "weights").symlink_to(outside / "name")
    (root / "inner").symlink_to(inside)
    cell = graph.add(CellNode, model=str(inside), models_root=str(root))
    for path in (outside, root / "link", root / ".." / "outside", leaking):
        answer = graph.call(LoadModel, "load_model", LoadModel.Request(path=str(path)))
        assert not answer.success and "models must lie" in answer.message, path
    assert cell.inspector.model.name == "a"
    assert graph.call(LoadModel, "load_model", LoadModel.Request(path=str(root / "inner"))).success
    cell.set_parameters([Parameter("model", value=str(outside))])  # a peer may set it: the same holds
    for transition, done in ((DEACTIVATE, True), (CLEANUP, True), (CONFIGURE, False)):
        assert change(graph, "cell", transition) is done


def test_load_model_may_pin_the_hash(graph, tmp_path):
    cell = graph.add(CellNode)
    path = str(write_bundle(tmp_path / "other", "other"))
    answer = graph.call(LoadModel, "load_model", LoadModel.Request(path=path, expected_hash="0" * 64))
    assert not answer.success and "hash is other-hash" in answer.message and cell.inspector.model.name == "fake"
    assert graph.call(LoadModel, "load_model", LoadModel.Request(path=path, expected_hash="other-hash")).success


def test_diagnostics_of_a_stage(graph):
    diagnostics = graph.listen(DiagnosticArray, "/diagnostics")
    graph.add(CellNode)
    images, results = graph.publisher(Image, "image_raw"), graph.results()
    graph.wait_matched("result")
    for i, red in enumerate((75, 0, 0, 0)):
        images.publish(graph.image(red))
        graph.wait(lambda i=i: len(results) > i, "a result")
    status = report(graph, diagnostics, "cell")
    values = {pair.key: pair.value for pair in status.values}
    assert status.level == DiagnosticStatus.WARN and "75 % of the last frames are HOLD" in status.message
    assert (values["model"], values["state"], values["frames"]) == ("fake", "active", "4")
    assert (values["PASS"], values["HOLD"], values["hold_rate"]) == ("1", "3", "0.75")
    assert float(values["localize_ms_p50"]) >= 0 and float(values["total_ms_p95"]) > 0
    assert float(values["rate_hz"]) > 0 and "nothing there" in values["last_hold"]


def test_a_drifting_score_is_reported(graph):
    from types import SimpleNamespace

    cell = graph.add(CellNode)
    assert cell.health.drift() != cell.health.drift()  # NaN: no calibration
    cell.inspector.model.calibration = SimpleNamespace(
        threshold=1.0, false_reject_rate=0.01, scores=[0.3, 0.4, 0.5, 0.6]
    )
    images, results = graph.publisher(Image, "image_raw"), graph.results()
    graph.wait_matched("result")
    for i in range(20):
        images.publish(graph.image(140))  # scores .93: PASS, but more than all of the calibration
        graph.wait(lambda i=i: len(results) > i, "a result")
    assert cell.health.drift() == 1.0
    diagnostics = graph.listen(DiagnosticArray, "/diagnostics")
    status = report(graph, diagnostics, "cell")
    assert status.level == DiagnosticStatus.WARN and "the scores have risen" in status.message
