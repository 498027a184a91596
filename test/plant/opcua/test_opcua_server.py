"""The OPC UA server with real clients: a part's whole handshake, security, and clients that behave badly."""

import asyncio
import json
import logging
import socket
import struct
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.crypto.uacrypto import load_certificate
from cryptography.hazmat.primitives import serialization
from opcua_servers import PASSWORDS, SETTINGS
from plant_cell import PretendedCell
from plc import PATIENCE, Plc, client_of, good, identity

from pad_ros.errors import InputError
from pad_ros.plant.opcua.records import Error
from pad_ros.plant.opcua.server import MAX_MESSAGE, Access, OpcuaServer
from pad_ros.verdicts import Verdict


@asynccontextmanager
async def connected(server, folder, user="plc", password=None, secure=True, events=True):
    password = PASSWORDS.get(user, "") if password is None else password
    client = await client_of(server.endpoint, folder, user, password, secure)
    async with client:
        yield await Plc(client).begin(events)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 4 * PATIENCE))


@pytest.mark.slow
def test_a_parts_whole_handshake_from_another_process_with_a_restart_in_between(tmp_path):
    """A model that is refused on the way. The client knows the server's certificate and its user before and after."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    cell = PretendedCell()

    def start(port: int) -> OpcuaServer:
        server = OpcuaServer(cell, Access(tmp_path, port=port), SETTINGS)
        cell.hear = server.hear
        server.start()
        return server

    server = start(0)
    assert server.first_password == tmp_path / "first_password.txt"
    command = [sys.executable, str(Path(__file__).parents[2] / "plc.py"), server.endpoint, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        first = [json.loads(client.stdout.readline()) for _ in range(4)]
        server.close()
        again = start(server.port)
        assert again.first_password is None
        client.stdin.write("go on\n")
        client.stdin.flush()
        second = [json.loads(client.stdout.readline()) for _ in range(4)]
        again.close()
        assert client.wait(PATIENCE) == 0
    for steps, part in ((first, "part 1"), (second, "part 2")):
        refused, prepared, result, unknown = steps
        assert refused == {"step": "refused", "error": Error.RECIPE_REFUSED, "state": "Initialized"}
        assert prepared == {"step": "prepared", "completed": True, "error": 0, "state": "Ready"}
        told = {name: result[name] for name in ("error", "job", "part", "meas", "good", "fetched", "same")}
        yes = dict.fromkeys(("job", "good", "fetched", "same"), True)
        assert told == {"error": 0, "part": part, "meas": "m1", **yes}
        order = result["order"]
        assert order.index("RecipePrepared") < order.index("JobStarted") < order.index("ResultReady")
        assert order[-1] == "Ready"
        assert unknown["error"] == Error.UNKNOWN_RESULT
    assert first[2]["result"] != second[2]["result"]
    assert [recipe for recipe, _ in cell.loaded] == ["damaged", "bracket"] * 2


def test_what_a_plc_reads_is_good_for_pass_only(server, cell, folder):
    async def parts() -> None:
        async with connected(server, folder) as plc:
            await plc.prepare("bracket")
            for number, (verdict, state) in enumerate(((Verdict.PASS, 1), (Verdict.REJECT, -1), (Verdict.HOLD, 4)), 1):
                cell.verdict = verdict
                job, error = await plc.start(f"part {number}")
                told = await plc.event("ResultReady", number)
                assert (error, told["ResultState"], good(told)) == (0, state, verdict is Verdict.PASS)
                assert told["JobId"].Id == job.Id and not told["IsPartial"]
                assert (told["Severity"] == 200) == (verdict is Verdict.PASS)
                assert told["ProcessingTimes"].ProcessingDuration == 160.0
                assert await plc.polled("ResultState") == state
                _, _, _, _, components, *_, last = await plc.call(
                    plc.results, "GetResultComponentsById", told["ResultId"], 0
                )
                assert (components, last) == (state, 0)
                _, fetched, _ = await plc.result(told["ResultId"].Id)
                assert fetched.ResultState == state and fetched.InternalRecipeId.Hash == bytes.fromhex("ab" * 32)
            complete, count, _, listed, error = await plc.listed(most=2)
            assert (complete, count, error) == (False, 2, 0) and listed[0].PartId.Id == "part 3"
            assert [r.PartId.Id for r in (await plc.listed(state=1))[3]] == ["part 1"]
            assert (await plc.listed("part 2"))[1] == 1 and (await plc.listed("nobody"))[3] in (None, [])

    run(parts())


def test_while_a_job_runs_nothing_polled_looks_like_a_result(server, cell, folder):
    async def part() -> None:
        async with connected(server, folder) as plc:
            assert await plc.polled("ResultState") == 0 and await plc.polled("IsPartial") is True
            await plc.prepare("bracket")
            await plc.start("first")
            await plc.event("Ready")
            assert await plc.polled("ResultState") == 1
            cell.verdict = None
            job, _ = await plc.start("second")
            assert await plc.state() == "SingleExecution"
            assert await plc.polled("ResultState") == 2 and await plc.polled("IsPartial") is True
            assert (await plc.polled("JobId")).Id == job.Id and not await plc.polled("ResultContent")
            whole = await plc.last.read_value()
            assert (whole.ResultState, whole.IsPartial, whole.ResultContent) == (2, True, None)
            assert await plc.command("Abort") == 0
            told = await plc.event("ResultReady", 2)
            assert (told["ResultState"], good(told)) == (3, False) and await plc.state() == "Ready"
            cell.gone = "no node cell publishes results"
            await plc.event("Error")
            assert await plc.polled("ResultState") == 0
            assert await plc.state() == "Error"

    run(part())


def test_a_server_that_ends_answers_the_open_job(server, cell, folder):
    async def part() -> None:
        async with connected(server, folder) as plc:
            await plc.prepare("bracket")
            cell.verdict = None
            await plc.start("open")
            await plc.event("JobStarted")
            server._loop.call_soon_threadsafe(server.system.close)
            told = await plc.event("ResultReady")
            assert (told["ResultState"], good(told)) == (3, False)

    run(part())


def test_commands_and_states(server, cell, folder):
    async def commands() -> None:
        async with connected(server, folder) as plc:
            assert (await plc.start("early"))[1] == Error.WRONG_STATE
            assert (await plc.prepare("unknown"))[2] == Error.UNKNOWN_RECIPE
            assert (await plc.prepare("../bracket"))[2] == Error.UNKNOWN_RECIPE
            assert (await plc.prepare("bracket", Hash=b"\xff" * 32, HashAlgorithm="SHA-256"))[2] == Error.RECIPE_REFUSED
            assert (await plc.prepare("bracket", Hash=b"\xff" * 20, HashAlgorithm="SHA-1"))[2] == Error.BAD_ARGUMENT
            internal, completed, error = await plc.prepare("bracket", Hash=b"\xab" * 32)
            assert (internal.Id, completed, error, cell.loaded[-1][1]) == ("bracket", True, 0, "ab" * 32)
            job, error = await plc.start(method="StartContinuous")
            assert (error, await plc.state()) == (0, "ContinuousExecution")
            assert (await plc.start("x"))[1] == Error.WRONG_STATE
            cell.answer(Verdict.REJECT, "of the line", 7)
            told = await plc.event("ResultReady")
            assert (told["JobId"].Id, told["PartId"].Id, good(told)) == (job.Id, "of the line", False)
            assert await plc.command("Stop") == 0 and await plc.state() == "Ready"
            assert await plc.command("Stop") == Error.WRONG_STATE
            assert (await plc.unprepare())[1] == 0 and await plc.state() == "Initialized"
            assert await plc.command("Halt") == 0 and await plc.state() == "Halted"
            assert await plc.command("Reset") == 0
            await plc.in_state("Initialized")
            changed = await plc.event("StateChanged")
            assert changed["FromState"].Text and changed["FromState/Id"].NamespaceIndex == plc.index
            page = (ua.Variant(value, ua.VariantType.UInt32) for value in (9, 0))
            *_, names, error = await plc.call(
                plc.recipes, "GetRecipeListFiltered", ua.RecipeIdExternalDataType(), ua.ProductIdDataType(),
                ua.Variant(2, ua.VariantType.Int32), *page, 0,
            )  # fmt: skip
            assert error == 0
            assert [(r.Id, r.Hash is not None) for r in names] == [
                ("bracket", True),
                ("damaged", False),
                ("loader", False),
            ]

    run(commands())


@pytest.mark.slow
def test_a_preparation_that_takes_long_is_told_by_events(serve, folder):
    async def preparations() -> None:
        async with connected(server, folder) as plc:
            internal, completed, error = await plc.prepare("bracket")
            assert (internal.Id, internal.Hash, completed, error) == ("bracket", None, False, 0)
            assert (await plc.prepare("loader"))[2] == Error.BUSY
            assert (await plc.start("early"))[1] == Error.WRONG_STATE
            prepared = await plc.event("RecipePrepared")
            assert prepared["InternalId"].Hash == bytes.fromhex("ab" * 32)
            await plc.in_state("Ready")
            assert (await plc.prepare("damaged"))[1:] == [False, 0]
            assert "recipe not prepared" in (await plc.event("Information"))["Message"].Text
            assert await plc.state() == "Initialized"

    server = serve(replace(SETTINGS, prepare_wait=0.05))
    server._cell.loading = 1.0
    run(preparations())


def test_wrong_arguments_are_refused_and_break_nothing(server, cell, folder):
    async def calls() -> None:
        async with connected(server, folder, events=False) as plc:
            await plc.prepare("bracket")
            for arguments in ((), (1,), (1, 2, 3, 4, 5, 6)):
                with pytest.raises(ua.UaStatusCodeError):
                    await plc.call(plc.automatic, "StartSingleJob", *arguments)
            no = ua.Variant([], ua.VariantType.Variant, is_array=True)
            for part in (ua.Variant(5, ua.VariantType.Int32), ua.JobIdDataType(Id="x"), "text"):
                given = (ua.MeasIdDataType(), part, ua.RecipeIdExternalDataType(), ua.ProductIdDataType(), no)
                assert (await plc.call(plc.automatic, "StartSingleJob", *given))[1] == Error.BAD_ARGUMENT
            assert (await plc.start("x" * 5000))[1] == Error.BAD_ARGUMENT
            assert (await plc.start("a\x00b"))[1] == Error.BAD_ARGUMENT
            assert (await plc.start("ok", recipe="loader"))[1] == Error.UNKNOWN_RECIPE
            assert (await plc.start("ok"))[1] == 0 and len(cell.triggers) == 1

    run(calls())


@pytest.mark.parametrize("user, password", [
    ("plc", "wrong password"), ("nobody", "a long password"), ("plc", ""), ("", ""), ("plc", "x" * 5000),
])  # fmt: skip
def test_who_is_not_known_is_not_let_in(server, folder, user, password, caplog):
    async def enter() -> None:
        with pytest.raises((ua.UaError, asyncio.TimeoutError, ConnectionError)):
            async with connected(server, folder, user, password):
                pass

    caplog.set_level(logging.DEBUG)
    run(enter())
    assert not password or password not in caplog.text


@pytest.mark.slow
def test_unencrypted_connections_are_not_offered_unless_asked_for(server, serve, folder):
    async def enter() -> None:
        with pytest.raises(ua.UaError):
            async with connected(server, folder, secure=False):
                pass
        async with connected(opened, folder, secure=False, events=False) as plc:
            assert await plc.state() == "Initialized"

    opened = serve(unencrypted=True)
    run(enter())


@pytest.mark.slow
@pytest.mark.parametrize("anonymous, may_call", [("read", False), ("control", True)])
def test_anonymous_clients_may_what_was_asked_for(serve, folder, anonymous, may_call):
    async def enter() -> None:
        async with connected(server, folder, user="") as plc:
            assert await plc.state() == "Initialized"
            if may_call:
                assert (await plc.prepare("bracket"))[2] == 0
            else:
                with pytest.raises(ua.UaStatusCodeError):
                    await plc.prepare("bracket")

    server = serve(anonymous=anonymous)
    run(enter())


def test_a_viewer_sees_and_does_nothing(server, cell, folder):
    async def look() -> None:
        async with connected(server, folder, "visitor") as viewer, connected(server, folder) as plc:
            for method in ("Halt", "Reset"):
                with pytest.raises(ua.UaStatusCodeError):
                    await viewer.command(method)
            with pytest.raises(ua.UaStatusCodeError):
                await viewer.prepare("bracket")
            await plc.prepare("bracket")
            await plc.start("seen")
            assert (await viewer.event("ResultReady"))["PartId"].Id == "seen"
            for someone in (viewer, plc):  # nobody changes what is shown
                node = await someone.last.get_child(f"{someone.index}:ResultState")
                with pytest.raises(ua.UaStatusCodeError):
                    await node.write_value(ua.Variant(1, ua.VariantType.Int32))
                with pytest.raises(ua.UaStatusCodeError):
                    await someone.client.nodes.objects.add_object(plc.index, "Forged")

    run(look())
    assert cell.loaded == [("bracket", "")]


@pytest.mark.slow
def test_only_trusted_clients_are_let_in_where_there_is_a_list(serve, folder, tmp_path):
    async def enter() -> None:
        certificate = await load_certificate((await identity(folder))[1])
        (trusted / "plc.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        server = await asyncio.get_running_loop().run_in_executor(None, start)
        async with connected(server, folder, events=False) as plc:
            assert await plc.state() == "Initialized"
        with pytest.raises(ua.UaError):
            async with connected(server, stranger):
                pass

    def start():
        return serve(trusted_clients=str(trusted))

    trusted, stranger = tmp_path / "trusted", tmp_path / "stranger"
    trusted.mkdir()
    stranger.mkdir()
    run(enter())


@pytest.mark.slow
def test_a_plc_gets_in_and_works_while_others_flood(server, cell, folder):
    """Calls, reads and subscriptions without end, parked connections, and a message that never ends."""

    async def flood() -> None:
        async with connected(server, folder) as plc:
            await plc.prepare("bracket")
            async with connected(server, folder, events=False) as greedy:
                stop = asyncio.Event()

                async def hammer() -> None:
                    while not stop.is_set():
                        calls = [greedy.start("greedy") for _ in range(20)]
                        calls += [greedy.state() for _ in range(20)]
                        await asyncio.gather(*calls, return_exceptions=True)

                cell.verdict = None
                hammering = asyncio.create_task(hammer())
                parked = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
                header = struct.pack("<3scI", b"HEL", b"F", 2**31)
                parked[0].sendall(header)
                ended = await asyncio.get_running_loop().run_in_executor(None, _fill, parked[0])
                await plc.command("Abort")
                await asyncio.sleep(0.5)
                stop.set()
                await asyncio.wait_for(hammering, PATIENCE)
                assert ended, "a message without end was taken"
            cell.verdict = Verdict.PASS
            await plc.command("Abort")
            job, error = await plc.start("mine")
            assert error == 0
            (mine,) = await plc.wait(lambda: [e for e in plc.of_kind("ResultReady") if e["JobId"].Id == job.Id], "mine")
            assert good(mine) and mine["PartId"].Id == "mine"
            for connection in parked:
                connection.close()

    run(flood())
    assert len(server.system.results) <= SETTINGS.keep_results


def _fill(connection: socket.socket) -> bool:
    """Whether the other side ends the connection before twice of what it may buffer was sent."""
    try:
        for _ in range(2 * MAX_MESSAGE // 2**16 + 40):
            connection.sendall(b"\0" * 2**16)
            time.sleep(0.001)
    except OSError:
        return True
    return False


@pytest.mark.slow
def test_what_cannot_be_used_is_said_in_one_line(server, cell, serve, folder, tmp_path):
    with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        serve(port=server.port)
    with pytest.raises(InputError, match="anonymous: 'yes' is none of"):
        OpcuaServer(cell, Access(folder, anonymous="yes"), SETTINGS)
    with pytest.raises(InputError, match="no client certificates"):
        (tmp_path / "empty").mkdir()
        OpcuaServer(cell, Access(folder, trusted_clients=str(tmp_path / "empty")), SETTINGS)
