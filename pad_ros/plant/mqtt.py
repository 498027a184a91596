"""Results to an MQTT broker: each as JSON, and one retained state. Nobody waits for the broker (docs/plant.md)."""

from __future__ import annotations

import json
import logging
import re
import ssl
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTErrorCode, MQTTMessageInfo

from ..errors import InputError, first_line
from ..verdicts import Verdict
from .plant_result import PlantResult, content, iso_time

STATE_SCHEMA = "pad_ros/state/1"
RECONNECT = 1, 30  # seconds between tries, growing
MOST_UNACKNOWLEDGED = 20  # results that the broker has not confirmed; further ones wait here
CHECK = 0.2  # seconds between looks at what can be sent
STATE_EVERY = 30.0  # seconds after which the state is sent again: its time shows that we live
GOODBYE = 2.0  # seconds for the last state at the end
TOPIC = re.compile(r"[^#+\x00-\x1f]{1,200}")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Broker:
    """Where and as whom. Files: "" for none. ca_file: of the broker's certificate, "" for the system's authorities."""

    host: str
    port: int = 1883
    user: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    certificate: str = ""
    private_key: str = ""
    client_id: str = ""


class PlantPublisher:
    """Publishes `PREFIX/CELL/result` (QoS 1, each result) and `PREFIX/CELL/state` (retained, and the last will).

    At most queue_size results wait for the broker; then the oldest are dropped, and counted in the state. InputError
    for a broker or topic that cannot be used; a broker that is not there is no error.
    """

    def __init__(self, cell: str, broker: Broker, prefix: str = "pad_ros", queue_size: int = 1000) -> None:
        base = f"{prefix}/{cell}" if prefix else cell
        if not TOPIC.fullmatch(base):
            raise InputError(f"{base[:80]!r}: a topic has 1 to 200 characters and neither # nor +")
        self.result_topic, self.state_topic = f"{base}/result", f"{base}/state"
        self.dropped = 0
        self._cell, self._broker, self._size = cell, broker, queue_size
        self._counts: Counter[str] = Counter()
        self._last: dict[str, Any] | None = None
        self._cell_problem = "no result yet"
        self._link_problem = "not connected yet"
        self._waiting: deque[str] = deque()
        self._changed = threading.Condition()
        self._state_due = self._ending = False
        self._began = iso_time(time.time_ns())
        self._client = self._make_client()
        self._thread = threading.Thread(target=self._send, name="mqtt", daemon=True)

    def start(self) -> None:
        """Connect, as soon as the broker is there and again whenever it was gone."""
        self._client.connect_async(self._broker.host, self._broker.port, keepalive=15)
        self._client.loop_start()
        self._thread.start()

    def hear(self, result: PlantResult) -> None:
        """A result, as it is to be told; does not wait."""
        told = content(result, self._cell, result.result_id(self._cell))
        with self._changed:
            self._counts[result.verdict.name] += 1
            self._last, self._cell_problem = told, ""
            self._waiting.append(json.dumps(told, allow_nan=False))
            while len(self._waiting) > self._size:
                self._waiting.popleft()
                self.dropped += 1
            self._state_due = True
            self._changed.notify()

    def set_cell_problem(self, problem: str) -> None:
        """Why the cell cannot be used now; "" if it can. While it cannot, the state holds no last result."""
        with self._changed:
            if problem != self._cell_problem:
                self._cell_problem = problem
                self._last = None if problem else self._last
                self._state_due = True
                self._changed.notify()

    @property
    def problem(self) -> str:
        """Why nothing can be sent now, in one line; "" if it can."""
        return "" if self._client.is_connected() else f"MQTT broker {self._broker.host}: {self._link_problem}"

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        """Say that we go, if the broker is there."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(GOODBYE)
        if self._client.is_connected():
            goodbye = self._client.publish(self.state_topic, self._state(online=False), qos=1, retain=True)
            end = time.monotonic() + GOODBYE
            while not goodbye.is_published() and time.monotonic() < end:
                time.sleep(0.01)
        self._client.disconnect()
        self._client.loop_stop()

    # ---- parts ----

    def _make_client(self) -> Client:
        broker = self._broker
        client_id = broker.client_id or f"pad_ros_{self._cell.replace('/', '_')}"
        client = Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        if broker.user or broker.password_file:
            client.username_pw_set(broker.user, _password(broker.password_file))
        if broker.tls:
            client.tls_set_context(_tls(broker))
        elif broker.ca_file or broker.certificate or broker.private_key:
            raise InputError("ca_file, certificate and private_key are for tls: set tls too")
        client.reconnect_delay_set(*RECONNECT)
        client.max_inflight_messages_set(MOST_UNACKNOWLEDGED)
        client.max_queued_messages_set(10 * MOST_UNACKNOWLEDGED)  # kept while it reconnects
        client.will_set(self.state_topic, self._state(online=False), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        return client

    def _state(self, online: bool) -> str:
        """JSON (state.schema.json). Not online: nothing in it can be taken for a part's verdict."""
        with self._changed:
            state = {
                "schema": STATE_SCHEMA,
                "cell": self._cell,
                "online": online,
                "time": iso_time(time.time_ns()),
                "began": self._began,
                "problem": self._cell_problem if online else "not connected",
                "last": self._last if online else None,
                "counts": {verdict.name: self._counts[verdict.name] for verdict in Verdict},
                "waiting": len(self._waiting),
                "dropped": self.dropped,
            }
        return json.dumps(state, allow_nan=False)

    def _send(self) -> None:
        """Hand to the client what the broker takes. Never with the lock held: the client has locks of its own."""
        unacknowledged: list[MQTTMessageInfo] = []
        next_state = 0.0
        while True:
            with self._changed:
                if not (self._state_due or self._ending):
                    self._changed.wait(CHECK)
                if self._ending:
                    return
            if not self._client.is_connected():
                with self._changed:
                    self._changed.wait(CHECK)
                continue
            unacknowledged = [info for info in unacknowledged if not _settled(info)]
            while len(unacknowledged) < MOST_UNACKNOWLEDGED and (message := self._next()) is not None:
                info = self._client.publish(self.result_topic, message, qos=1)
                if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
                    self._put_back(message)
                    break
                unacknowledged.append(info)
            if self._state_due or time.monotonic() > next_state:
                self._state_due = False
                next_state = time.monotonic() + STATE_EVERY
                # QoS 0: one that was lost with the connection must not be repeated after a newer one.
                self._client.publish(self.state_topic, self._state(online=True), qos=0, retain=True)

    def _next(self) -> str | None:
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def _put_back(self, message: str) -> None:
        with self._changed:
            self._waiting.appendleft(message)

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._link_problem = f"refused ({reason})"
            log.warning("%s", self._link_problem)
            return
        log.info("connected to the MQTT broker %s", self._broker.host)
        self._state_due = True

    def _on_connect_fail(self, client: Client, data: Any) -> None:
        self._link_problem = "no connection"

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure and not self._link_problem.startswith("refused"):
            self._link_problem = f"connection lost ({reason})"
            log.warning("%s", self._link_problem)


def _settled(info: MQTTMessageInfo) -> bool:
    """Whether the broker has it, or the client keeps it for the next connection."""
    try:
        return info.is_published()
    except RuntimeError:  # the connection was lost meanwhile
        return True


def _password(path: str) -> str | None:
    """The first line of a file: a password is no parameter, which everybody in the graph could read."""
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()[0]
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{path}: no password can be read there ({first_line(error)})") from error


def _tls(broker: Broker) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=broker.ca_file or None)
        if broker.certificate:
            context.load_cert_chain(broker.certificate, broker.private_key or None)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        files = ", ".join(file for file in (broker.ca_file, broker.certificate, broker.private_key) if file)
        raise InputError(f"{files}: cannot be used for TLS ({first_line(error)})") from error
    return context
