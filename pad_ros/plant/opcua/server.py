"""The OPC UA server of one cell: endpoints, security, and the thread that it runs in."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import USER_TYPES, PermissionRuleset, User, UserRole
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol

from ... import __version__
from ...errors import InputError, first_line
from ..cell import Cell
from ..plant_result import PlantResult
from . import nodeset
from .address_space import Builder
from .certificates import Identity, own_identity, trusted_certificates
from .methods import Methods
from .records import Happening, Moved, Said, Settings
from .structures import Structures
from .telling import Telling
from .users import Account, Role, Users
from .vision_system import VisionSystem

OWN_URI = "urn:pad_ros:plant"  # of the names and ids that are ours
TICK = 0.2  # seconds between looks at the clock and at the cell
STOP_TIMEOUT = 10.0  # seconds
MAX_MESSAGE = 2**20  # bytes that a client may send at once
MAX_CONNECTIONS, MAX_SUBSCRIPTIONS, MAX_QUEUED = 32, 64, 1000
# Messages of one client that wait to be answered. asyncua's client has 100 requests open while it loads our types (963
# in all), for which 100 is too little; each may hold 64 KiB, also before a login: 5000 would be 320 MB a client.
MAX_UNREAD = 500
SECURE = (
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
)
ANONYMOUS = ("no", "read", "control")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Access:
    """Where the server listens and whom it lets in.

    folder: of certificate and users. certificate, private_key: files, "" for those of the folder. trusted_clients:
    folder of the only client certificates that are let in, "" for any. anonymous: "no", or what they may.
    unencrypted: also offer connections without encryption.
    """

    folder: Path
    address: str = "127.0.0.1"
    port: int = 4840
    certificate: str = ""
    private_key: str = ""
    trusted_clients: str = ""
    anonymous: str = "no"
    unencrypted: bool = False
    hosts: tuple[str, ...] = field(default=("localhost",))


class OpcuaServer:
    """One vision system, served. `start` and `close` from any thread; all else happens in the server's own.

    InputError from the constructor and `start` for what cannot be used: certificates, users, an address that is taken.
    """

    def __init__(self, cell: Cell, access: Access, settings: Settings) -> None:
        if access.anonymous not in ANONYMOUS:
            raise InputError(f"anonymous: {access.anonymous!r} is none of {', '.join(ANONYMOUS)}")
        self._cell, self._access, self._settings = cell, access, settings
        self._identity = own_identity(access.folder, access.certificate, access.private_key, access.hosts)
        self._trusted = trusted_certificates(access.trusted_clients)
        self._users = Users(access.folder)
        self.first_password = self._users.ensure_one()  # file, where a first user was made
        self._happenings: asyncio.Queue[Happening] = asyncio.Queue()
        self.system = VisionSystem(cell, settings, self._happenings.put_nowait)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="opcua", daemon=True)
        self._server: BoundedServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """That it listens on, also where 0 was asked for."""
        server = self._server
        return server.bserver.port if server is not None and server.bserver is not None else self._access.port

    @property
    def endpoint(self) -> str:
        return f"opc.tcp://{self._access.address}:{self.port}/pad_ros"

    def start(self) -> None:
        self._thread.start()
        try:
            self._run(self._start())
        except BaseException:
            self._end_loop()
            raise

    def hear(self, result: PlantResult) -> None:
        """A result of the cell; does not wait."""
        self._loop.call_soon_threadsafe(self.system.hear, result)

    def close(self) -> None:
        """Answer open jobs, tell the clients, and end."""
        if self._thread.is_alive():
            try:
                self._run(self._stop())
            finally:
                self._end_loop()

    def _run(self, coroutine: Any) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        future.result()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_TIMEOUT)

    # ---- in the thread of the server ----

    async def _start(self) -> None:
        server = BoundedServer(self._guard())
        await server.init()
        await self._set_up(server, self._identity)
        index = await server.register_namespace(nodeset.URI)
        own = await server.register_namespace(OWN_URI)
        space = await Builder(server, index, own).build("VisionSystem")
        structures = Structures(space.structures)
        telling = Telling(server, space, structures)
        methods = Methods(self.system, self._cell, structures, self._happenings.join)
        methods.link(server, space)
        await telling.begin()
        try:
            await server.start()
        except OSError as error:
            await server.iserver.stop()
            where = f"{self._access.address}:{self._access.port}"
            raise InputError(f"OPC UA cannot listen on {where} ({first_line(error)})") from error
        self._server = server
        self._tasks = [asyncio.create_task(self._tell(telling)), asyncio.create_task(self._watch())]

    async def _set_up(self, server: BoundedServer, identity: Identity) -> None:
        access = self._access
        server.set_endpoint(f"opc.tcp://{access.address}:{access.port}/pad_ros")
        server.set_server_name(f"pad_ros {self._cell.name}")
        await server.set_application_uri(identity.application_uri)
        await server.set_build_info("urn:pad_ros", "pad_ros", "pad_ros", __version__, "", ua.get_win_epoch())
        await server.load_certificate(identity.certificate)
        await server.load_private_key(identity.key)
        policies = [*SECURE, *([ua.SecurityPolicyType.NoSecurity] if access.unencrypted else [])]
        server.set_security_policy(policies, permission_ruleset=RoleRules())
        tokens = [ua.UserNameIdentityToken]
        server.set_identity_tokens(tokens if access.anonymous == "no" else [ua.AnonymousIdentityToken, *tokens])

    def _guard(self) -> Guard:
        return Guard(self._users, self._trusted, self._access.anonymous)

    async def _stop(self) -> None:
        self.system.close()
        for task in self._tasks[1:]:
            task.cancel()
        await self._happenings.join()
        await asyncio.sleep(0.2)  # subscriptions are published on their own clocks
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            await self._server.stop()

    async def _tell(self, telling: Telling) -> None:
        while True:
            happening = await self._happenings.get()
            if isinstance(happening, Moved | Said):
                log.info("%s", happening.text)
            try:
                await telling.tell(happening)
            except Exception as error:  # what is told next must not wait for what could not be
                log.error("%s: %s", type(error).__name__, first_line(error))
            finally:
                self._happenings.task_done()

    async def _watch(self) -> None:
        while True:
            try:
                self.system.tick()
            except Exception as error:
                log.error("%s: %s", type(error).__name__, first_line(error))
            await asyncio.sleep(TICK)


class Guard:
    """Who is let in: a user with his password, and only from a trusted client where there is a list of them."""

    def __init__(self, users: Users, trusted: frozenset[bytes] | None, anonymous: str) -> None:
        self._users, self._trusted, self._anonymous = users, trusted, anonymous

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        """As asyncua asks. certificate: DER, that the connection was opened with."""
        if self._trusted is not None and certificate not in self._trusted:
            log.warning("a client was refused: its certificate is not among trusted_clients")
            return None
        if username is None:
            if self._anonymous == "no":
                return None
            role = Role.OPERATOR if self._anonymous == "control" else Role.VIEWER
            return _user(Account("anonymous", role, ""))
        account = self._users.check(username, password)
        return None if account is None else _user(account)


def _user(account: Account) -> User:
    """asyncua knows no viewers: its Anonymous stands for them, with the rules below."""
    return User(UserRole.User if account.role is Role.OPERATOR else UserRole.Anonymous, account.name)


class RoleRules(PermissionRuleset):
    """Nobody writes variables or adds nodes; viewers do not call methods."""

    def __init__(self) -> None:
        ids = ua.ObjectIds
        never = {ids.WriteRequest_Encoding_DefaultBinary, ids.HistoryReadRequest_Encoding_DefaultBinary}
        self._operator = {ua.NodeId(number) for number in USER_TYPES if number not in never}
        self._viewer = self._operator - {ua.NodeId(ids.CallRequest_Encoding_DefaultBinary)}

    def check_validity(self, user: User, action_type_id: ua.NodeId, body: Any) -> bool:
        return action_type_id in (self._operator if user.role is UserRole.User else self._viewer)


class BoundedServer(Server):
    """asyncua's server with limits on what a client can take up."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(user_manager=guard)
        self.limits = TransportLimits(max_chunk_count=MAX_MESSAGE // 65535 + 1, max_message_size=MAX_MESSAGE)
        inner = self.iserver
        inner.allow_remote_admin = False
        inner.max_connections, inner.max_subscriptions = MAX_CONNECTIONS, MAX_SUBSCRIPTIONS
        inner.max_monitored_item_queue_size = inner.max_unacked_messages_per_subscription = MAX_QUEUED
        inner.max_pending_messages_per_connection = MAX_UNREAD
        inner.register_server = inner.register_server2 = _not_a_directory

    async def start(self) -> None:
        """As asyncua's, but with a limit on what is buffered, and an OSError where the address is taken."""
        await self._setup_server_nodes()
        await self.iserver.start()
        host, port = self._get_bind_socket_info()
        self.bserver = _Listener(self.iserver, host, port, self.limits)
        self.bserver.set_policies(self._policies)
        await self.bserver.start()


class _Connection(OPCUAProtocol):
    def data_received(self, data: bytes) -> None:
        if len(self._buffer) + len(data) > MAX_MESSAGE:  # a message that never ends
            log.warning("a connection is closed: it sends more than %d bytes at once", MAX_MESSAGE)
            if self.transport is not None:
                self.transport.close()
            return
        super().data_received(data)


class _Listener(BinaryServer):
    def _make_protocol(self) -> OPCUAProtocol:
        return _Connection(self.iserver, self._policies, self.clients, self.closing_tasks, self.limits)


def _not_a_directory(*_: Any) -> None:
    raise ServiceError(ua.StatusCodes.BadServiceUnsupported)
