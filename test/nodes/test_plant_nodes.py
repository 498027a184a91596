"""The nodes for the plant: a part from OPC UA through a running cell and back, and results by MQTT."""

import asyncio
import json
import os
import subprocess
import sys
import threading

import pytest
from fake_inspector import write_bundle

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")
pytest.importorskip("asyncua", reason="asyncua is not installed (pip install 'pad_ros[opcua]')")
pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (pip install 'pad_ros[mqtt]')")

from opcua_servers import PASSWORDS  # noqa: E402
from pad_ros.msg import InspectionResult, Trigger  # noqa: E402
from plc import Plc, client_of, good  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from pad_ros.errors import InputError  # noqa: E402
from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.mqtt import MqttNode  # noqa: E402
from pad_ros.nodes.opcua import OpcuaNode  # noqa: E402
from pad_ros.nodes.watchdog import WatchdogNode  # noqa: E402
from pad_ros.plant.opcua.records import Error  # noqa: E402
from pad_ros.plant.opcua.users import Role, Users  # noqa: E402

GOOD, DEFECT = 75, 200
R = InspectionResult


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("opcua")
    Users(folder).put("plc", Role.OPERATOR, PASSWORDS["plc"])
    return folder


@pytest.fixture
def recipes(tmp_path):
    """Two models, and a folder that is none."""
    for name in ("bracket", "loader"):
        write_bundle(tmp_path / "recipes" / name, name)
    (tmp_path / "recipes" / "damaged").mkdir()
    for path in (tmp_path / "recipes").iterdir():
        (path / "manifest.json").write_text("{}")
    return tmp_path / "recipes"


class Camera:
    """Answers each trigger with an image of its stamp, until told otherwise."""

    def __init__(self, graph) -> None:
        self.red = GOOD
        self._graph = graph
        self._images = graph.tester.create_publisher(Image, "image_raw", 20)
        graph.tester.create_subscription(Trigger, "trigger", self._expose, 20)

    def _expose(self, trigger: Trigger) -> None:
        if self.red is None:
            return
        image = self._graph.image(self.red)
        image.header = Header(stamp=trigger.header.stamp, frame_id="camera")
        self._images.publish(image)


@pytest.fixture
def line(graph, folder, recipes):
    """A triggered cell with its watchdog, a camera, and the OPC UA node."""
    settings = {"triggered": True, "trigger_timeout": 5.0, "frozen_check": False}
    graph.add(CellNode, **settings)
    graph.add_node(WatchdogNode(overrides={"triggered": True, "deadline": 20.0}))
    node = graph.add_node(
        OpcuaNode(overrides={"folder": str(folder), "port": 0, "recipes": str(recipes), "prepare_wait": 20.0})
    )
    camera = Camera(graph)
    graph.wait(lambda: not node.server.system._cell.problem(), "the cell to be seen")
    graph.wait(lambda: graph.tester.count_subscribers("trigger") >= 3, "who takes triggers")
    graph.wait(lambda: graph.tester.count_subscribers("image_raw") >= 1, "who takes images")
    graph.settle()
    return graph, node, camera


def as_plc(node, folder, work) -> None:
    """Run `work(plc)` as a client that is connected."""

    async def run() -> None:
        async with await client_of(node.server.endpoint, folder, "plc", PASSWORDS["plc"]) as client:
            await work(await Plc(client).begin())

    asyncio.run(asyncio.wait_for(run(), 120))


@pytest.mark.slow
def test_a_part_through_the_running_cell(line, folder):
    graph, node, camera = line

    async def work(plc: Plc) -> None:
        await plc.in_state("Initialized")
        assert (await plc.prepare("damaged"))[2] == Error.RECIPE_REFUSED
        internal, completed, error = await plc.prepare("loader")
        assert (internal.Version, completed, error) == ("loader-hash", True, 0)
        for number, (red, state) in enumerate(((GOOD, 1), (DEFECT, -1), (0, 4)), 1):
            camera.red = red
            job, error = await plc.start(f"part {number}")
            assert error == 0
            told = await plc.event("ResultReady", number)
            content = json.loads(told["ResultContent"][0].Value)
            assert (told["ResultState"], content["part_id"], content["job_id"]) == (state, f"part {number}", job.Id)
            assert good(told) == (red == GOOD) and content["model_name"] == "loader"
            await plc.event("Ready", number)

    as_plc(node, folder, work)


@pytest.mark.slow
def test_a_pass_with_a_stranger_in_the_graph_or_by_another_model_is_not_told(line, folder):
    graph, node, camera = line

    async def work(plc: Plc) -> None:
        await plc.in_state("Initialized")
        assert (await plc.prepare("bracket"))[2] == 0
        graph.nodes[0].load(str(graph.model))  # behind the back of the PLC
        await plc.start("by another model")
        told = await plc.event("ResultReady")
        assert told["ResultState"] == 4 and json.loads(told["ResultContent"][0].Value)["reason"] == "NO_MODEL"
        assert (await plc.prepare("bracket"))[2] == 0
        graph.tester.create_publisher(R, "result", 10)
        graph.wait(lambda: graph.tester.count_publishers("result") > 2, "the stranger")
        graph.settle()
        await plc.start("with a stranger")
        told = await plc.event("ResultReady", 2)
        assert told["ResultState"] == 4 and "tester publishes results" in told["Message"].Text

    as_plc(node, folder, work)


@pytest.mark.slow
def test_a_cell_that_ends_is_an_error(line, folder):
    graph, node, camera = line

    async def work(plc: Plc) -> None:
        await plc.in_state("Initialized")
        assert (await plc.prepare("bracket"))[2] == 0
        camera.red = None
        await plc.start("never seen")
        cell = graph.nodes.pop(0)
        graph.executor.remove_node(cell)
        threading.Thread(target=cell.close).start()
        told = await plc.event("ResultReady")
        assert not good(told) and told["ResultState"] in (3, 4)
        await plc.in_state("Error")

    as_plc(node, folder, work)


def test_opcua_refuses_wrong_parameters(graph, folder):
    for overrides, text in (
        ({"anonymous": "yes"}, "anonymous"), ({"port": 70000}, "port"), ({"certificate": "/no/such"}, "give both"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=text):
            OpcuaNode(overrides={"folder": str(folder), **overrides})


def test_mqtt_tells_results_and_never_a_pass_that_is_not_to_be_believed(graph):
    """Without a broker: results wait, and what waits is what will be sent."""
    graph.add(CellNode, free_running="every")
    node = graph.add_node(MqttNode(overrides={"port": 1, "host": "127.0.0.1", "model_hash": "fake-hash"}))
    graph.wait_matched("result")
    graph.wait(lambda: not node.listener.problem, "the cell to be seen")
    images = graph.publisher(Image, "image_raw")
    images.publish(graph.image(GOOD))
    graph.wait(lambda: node.publisher.waiting == 1, "a result")
    assert json.loads(node.publisher._waiting[0])["good"] is True
    state = json.loads(node.publisher._state(online=True))
    assert state["last"]["verdict"] == "PASS" and state["counts"]["PASS"] == 1
    stranger = graph.tester.create_publisher(R, "result", 10)
    graph.wait(lambda: "tester" in node.listener.doubt, "the stranger")
    images.publish(graph.image(GOOD))
    graph.wait(lambda: node.publisher.waiting == 2, "a second result")
    told = json.loads(node.publisher._waiting[1])
    assert (told["good"], told["verdict"]) == (False, "HOLD") and "tester publishes results" in told["reason_text"]
    graph.tester.destroy_publisher(stranger)
    assert node.describe() == "pad_ros/cell/result"


def test_mqtt_takes_the_cell_name_from_namespace_or_parameter(graph):
    for namespace, given, topic in (("line/cell_1", "", "pad_ros/line/cell_1/"), ("line", "left", "pad_ros/left/")):
        node = MqttNode(overrides={"port": 1, "cell_name": given}, namespace=namespace)
        assert node.publisher.result_topic == f"{topic}result"
        node.close()
    with pytest.raises(InputError, match="a topic has"):
        MqttNode(overrides={"cell_name": "a/#"})


def test_the_plants_nodes_report_to_diagnostics(graph, folder):
    mqtt = graph.add_node(MqttNode(overrides={"port": 1, "host": "127.0.0.1", "queue_size": 1}))
    opcua = graph.add_node(OpcuaNode(overrides={"folder": str(folder), "port": 0}))
    level, message, values = opcua.health.status()
    assert values["state"] == "Preoperational" and "no node" in message or "just begun" in message
    level, message, values = mqtt.health.status()
    assert "MQTT broker" in message and values["waiting"] == 0


@pytest.mark.parametrize("node, package", [("opcua", "asyncua"), ("opcua", "argon2"), ("mqtt", "paho")])
def test_a_missing_package_is_named_and_ends_the_node_with_3(node, package):
    code = f"import sys; sys.modules[{package!r}] = None; from pad_ros.nodes.{node} import main; sys.exit(main())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=120)
    assert ended.returncode == 3
    (line,) = ended.stderr.splitlines()
    assert line == f"pad_ros: {package} is not installed: pip install 'pad_ros[{node}]'"
