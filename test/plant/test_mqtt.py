"""Results by MQTT, with a real mosquitto: what arrives, what stays, and a broker that goes and comes back."""

import datetime
import getpass
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

mqtt = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (pip install 'pad_ros[mqtt]')")
jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed (requirements-dev.txt)")

from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402
from plant_cell import result  # noqa: E402

import pad_ros.plant  # noqa: E402
from pad_ros.errors import InputError  # noqa: E402
from pad_ros.plant import mqtt as module  # noqa: E402
from pad_ros.plant.mqtt import Broker, PlantPublisher  # noqa: E402
from pad_ros.verdicts import Verdict  # noqa: E402

PATIENCE = 120.0  # seconds; an upper bound, nothing is asserted about time
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)")
FOLDER = Path(pad_ros.plant.__file__).parent
RESULT, STATE = (json.loads((FOLDER / f"{name}.schema.json").read_text()) for name in ("result", "state"))


def wait(condition, what: str):
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)
    return value


class Mosquitto:
    """A broker that can be stopped and started again, on the same port; it remembers nothing unless `lines` say so."""

    def __init__(self, folder: Path, *lines: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join((f"listener {self.port} 127.0.0.1", f"user {getpass.getuser()}", *lines, "")))
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stderr=subprocess.DEVNULL)

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait(answers, "mosquitto")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)
            self._process = None


@pytest.fixture
def broker(tmp_path):
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt install mosquitto)")
    running = Mosquitto(tmp_path, "allow_anonymous true")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def listeners():
    """Clients that keep what they hear: (topic, message, retained)."""
    made = []

    def listen(
        port: int, user: str = "", password: str = "", ca: str = "", session: str = ""
    ) -> list[tuple[str, dict, bool]]:
        """session: under which the broker keeps messages while we are not connected."""
        heard: list[tuple[str, dict, bool]] = []
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=session, clean_session=not session)
        client.reconnect_delay_set(1, 1)
        if user:
            client.username_pw_set(user, password)
        if ca:
            client.tls_set(ca)
        subscribed = []
        client.on_connect = lambda c, *_: c.subscribe("pad_ros/#", 1)
        client.on_subscribe = lambda *_: subscribed.append(True)
        client.on_message = lambda c, _, m: heard.append((m.topic, json.loads(m.payload), m.retain))
        client.connect("localhost" if ca else "127.0.0.1", port)
        client.loop_start()
        made.append(client)
        wait(lambda: subscribed, "the subscription")
        return heard

    yield listen
    for client in made:
        client.disconnect()
        client.loop_stop()


@pytest.fixture
def publisher(monkeypatch):
    monkeypatch.setattr(module, "RECONNECT", (1, 1))
    running = []

    def start(port: int, queue_size: int = 1000, **given) -> PlantPublisher:
        given.setdefault("host", "127.0.0.1")
        made = PlantPublisher("cell_1", Broker(port=port, **given), queue_size=queue_size)
        made.start()
        running.append(made)
        return made

    yield start
    for made in running:
        made.close()


def results(heard) -> list[dict]:
    found = [message for topic, message, _ in heard if topic == "pad_ros/cell_1/result"]
    for message in found:
        jsonschema.Draft202012Validator(RESULT).validate(message)
    return found


def states(heard) -> list[dict]:
    found = [message for topic, message, _ in heard if topic == "pad_ros/cell_1/state"]
    for message in found:
        jsonschema.Draft202012Validator(STATE).validate(message)
        if message["last"] is not None:
            jsonschema.Draft202012Validator(RESULT).validate(message["last"])
    return found


def test_each_result_arrives_and_the_state_stays(broker, listeners, publisher):
    heard = listeners(broker.port)
    plant = publisher(broker.port)
    verdicts = [Verdict.PASS, Verdict.REJECT, Verdict.HOLD]
    for number, verdict in enumerate(verdicts, 1):
        plant.hear(result(verdict, f"part {number}", number))
    wait(lambda: len(results(heard)) == 3, "three results")
    assert [(r["part_id"], r["verdict"], r["good"]) for r in results(heard)] == [
        ("part 1", "PASS", True), ("part 2", "REJECT", False), ("part 3", "HOLD", False)]  # fmt: skip
    assert not any(retained for topic, _, retained in heard if topic.endswith("result"))
    wait(lambda: states(heard) and (states(heard)[-1]["last"] or {}).get("part_id") == "part 3", "the state")
    late = listeners(broker.port)
    (state,) = wait(lambda: states(late), "the retained state")
    assert [retained for _, _, retained in late] == [True]
    assert (state["online"], state["last"]["verdict"], state["counts"]) == (
        True, "HOLD", {"HOLD": 1, "PASS": 1, "REJECT": 1})  # fmt: skip
    assert plant.problem == "" and plant.waiting == 0


@needs_broker
def test_a_broker_that_goes_and_comes_back_gets_everything_in_order(listeners, publisher, tmp_path):
    remembers = (
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {tmp_path}/",
        "max_queued_messages 0",
    )
    broker = Mosquitto(tmp_path, *remembers)
    broker.start()
    try:
        heard = listeners(broker.port, session="mes")
        plant = publisher(broker.port)
        plant.hear(result(part_id="before", trigger_ns=1))
        wait(lambda: results(heard), "the first result")
        broker.stop()
        wait(lambda: plant.problem, "the loss to be noticed")
        for number in range(200):
            plant.hear(result(Verdict.HOLD, f"during {number}", 2 + number))
        assert plant.waiting == 200 and "127.0.0.1" in plant.problem
        broker.start()
        wait(lambda: len({r["result_id"] for r in results(heard)}) == 201, "the results that waited")
        order = list(dict.fromkeys(r["part_id"] for r in results(heard)))  # QoS 1 may repeat
        assert order == ["before", *(f"during {number}" for number in range(200))]
    finally:
        broker.stop()


def test_a_broker_that_lost_its_memory_gets_the_last_state(broker, listeners, publisher):
    plant = publisher(broker.port)
    wait(lambda: plant.problem == "", "the connection")
    broker.stop()
    wait(lambda: plant.problem, "the loss to be noticed")
    plant.hear(result(Verdict.REJECT, "during", 2))
    broker.start()
    heard = listeners(broker.port)
    wait(lambda: states(heard) and states(heard)[-1]["last"], "the last state")
    assert states(heard)[-1]["online"] and states(heard)[-1]["last"]["part_id"] == "during"


def test_a_full_queue_drops_the_oldest_and_says_so(listeners, publisher, tmp_path):
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt install mosquitto)")
    running = Mosquitto(tmp_path, "allow_anonymous true")
    plant = publisher(running.port, queue_size=5)
    for number in range(8):
        plant.hear(result(part_id=str(number), trigger_ns=1 + number))
    assert (plant.waiting, plant.dropped) == (5, 3)
    running.start()
    try:
        heard = listeners(running.port)
        wait(lambda: states(heard) and states(heard)[-1]["waiting"] == 0, "an empty queue")
        state = states(heard)[-1]
        assert (state["dropped"], state["counts"]["PASS"], state["last"]["part_id"]) == (3, 8, "7")
    finally:
        running.stop()


def test_the_last_will_takes_the_last_pass_away(broker, listeners, publisher):
    """Killed, cut off: a PASS that nobody stands for any more is not there to be read."""
    plant = publisher(broker.port)
    plant.hear(result(part_id="good one"))
    heard = listeners(broker.port)
    wait(lambda: states(heard) and states(heard)[-1]["last"], "the state with the result")
    plant._client._sock.shutdown(socket.SHUT_RDWR)  # as if the cable were pulled, for the broker
    gone = wait(lambda: [s for s in states(heard) if not s["online"]], "the last will")[0]
    assert gone["last"] is None
    wait(lambda: states(heard)[-1]["online"], "the state after it has connected again")
    assert states(heard)[-1]["last"]["part_id"] == "good one"


def test_a_publisher_that_ends_says_so(broker, listeners, publisher):
    plant = publisher(broker.port)
    plant.hear(result())
    wait(lambda: plant.problem == "" and plant.waiting == 0, "the result to be sent")
    plant.close()
    heard = listeners(broker.port)
    (state,) = wait(lambda: states(heard), "the retained state")
    assert (state["online"], state["last"]) == (False, None)


def test_a_cell_that_is_gone_takes_the_last_result_away(broker, listeners, publisher):
    plant = publisher(broker.port)
    heard = listeners(broker.port)
    plant.hear(result(part_id="good one"))
    wait(lambda: states(heard) and states(heard)[-1]["last"], "the state with the result")
    plant.set_cell_problem("no node cell publishes results")
    wait(lambda: states(heard)[-1]["problem"], "the state without")
    assert states(heard)[-1]["last"] is None and states(heard)[-1]["online"]
    plant.set_cell_problem("")
    wait(lambda: not states(heard)[-1]["problem"], "the cell that is back")
    assert states(heard)[-1]["last"] is None


@needs_broker
def test_a_user_is_asked_for_and_a_wrong_one_said(tmp_path, listeners, publisher, caplog):
    passwords = tmp_path / "passwords"
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([tool, "-b", "-c", str(passwords), "cell", "the password"], check=True, capture_output=True)
    passwords.chmod(0o644)
    running = Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}")
    running.start()
    try:
        right, wrong = tmp_path / "right", tmp_path / "wrong"
        right.write_text("the password\n")
        wrong.write_text("another\n")
        refused = publisher(running.port, user="cell", password_file=str(wrong), client_id="a")
        wait(lambda: "refused" in refused.problem, "the refusal")
        assert "another" not in refused.problem + caplog.text
        allowed = publisher(running.port, user="cell", password_file=str(right), client_id="b")
        heard = listeners(running.port, "cell", "the password")
        allowed.hear(result(part_id="let in"))
        wait(lambda: results(heard), "a result")
    finally:
        running.stop()


@needs_broker
def test_tls_checks_the_broker(tmp_path, listeners, publisher):
    authority, certificate, key = _certificates(tmp_path)
    running = Mosquitto(tmp_path, "allow_anonymous true", f"certfile {certificate}", f"keyfile {key}")
    running.start()
    try:
        heard = listeners(running.port, ca=str(authority))
        trusting = publisher(running.port, host="localhost", tls=True, ca_file=str(authority), client_id="a")
        wary = publisher(running.port, host="localhost", tls=True, client_id="b")  # the system does not know it
        trusting.hear(result(part_id="by TLS"))
        wait(lambda: results(heard), "a result")
        assert wary.problem and trusting.problem == ""
    finally:
        running.stop()


@pytest.mark.parametrize("given, text", [
    ({"password_file": "/no/such"}, "/no/such: no password can be read there"),
    ({"ca_file": "/no/such"}, "set tls too"),
    ({"tls": True, "ca_file": "/no/such"}, "/no/such: cannot be used for TLS"),
])  # fmt: skip
def test_what_cannot_be_used_is_said_in_one_line(given, text):
    with pytest.raises(InputError, match=text) as error:
        PlantPublisher("cell_1", Broker("127.0.0.1", **given))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cell", ["a/#", "a+b", "", "x" * 300, "a\x00"])
def test_topics_are_names(cell):
    with pytest.raises(InputError, match="a topic has"):
        PlantPublisher(cell, Broker("127.0.0.1"), prefix="")


def test_no_broker_at_all_stops_nothing(publisher):
    plant = publisher(1, host="no-such-host.invalid")
    plant.hear(result())
    wait(lambda: "no-such-host.invalid" in plant.problem, "the problem")
    assert plant.waiting == 1


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    """An authority, and a certificate and key that it made for localhost."""
    now = datetime.datetime.now(datetime.timezone.utc)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer, subject = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in ("authority", "localhost"))

    def made(name: x509.Name, public, authority: bool) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=2))
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        return builder.add_extension(names, critical=False).sign(authority_key, hashes.SHA256())

    files = folder / "authority.pem", folder / "broker.pem", folder / "broker_key.pem"
    files[0].write_bytes(made(issuer, authority_key.public_key(), True).public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(made(subject, key.public_key(), False).public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[2].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return files
