"""A PLC's side of OPC UA, by asyncua's client: for the tests, and as a process of its own.

python plc.py ENDPOINT FOLDER      # a whole handshake with a restart of the server in between; JSON lines on stdout
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from asyncua import Client, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography.x509.oid import ExtendedKeyUsageOID

MACHINE_VISION, OWN = "http://opcfoundation.org/UA/MachineVision", "urn:pad_ros:plant"
EVENTS = {
    1018: "StateChanged", 1019: "Error", 1020: "ErrorResolved", 1013: "JobStarted", 1023: "Ready",
    1022: "RecipePrepared", 1024: "ResultReady", 1038: "Information",
}  # fmt: skip
PATIENCE = 120.0  # seconds; an upper bound, nothing is asserted about time


APPLICATION = "urn:pad_ros:test:plc"


async def identity(folder: Path) -> tuple[Path, Path]:
    """Key and certificate of the client, made if there are none."""
    key, certificate = folder / "plc_key.pem", folder / "plc.der"
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    await setup_self_signed_certificate(key, certificate, APPLICATION, "localhost", uses, {})
    return key, certificate


async def client_of(endpoint: str, folder: Path, user: str = "", password: str = "", secure: bool = True) -> Client:
    """Not connected yet. folder: of the client's certificate, made if there is none."""
    client = Client(endpoint, timeout=PATIENCE)
    client.application_uri = APPLICATION
    if secure:
        key, certificate = await identity(folder)
        mode = ua.MessageSecurityMode.SignAndEncrypt
        await client.set_security(SecurityPolicyBasic256Sha256, certificate, key, mode=mode)
    if user:
        client.set_user(user)
        client.set_password(password)
    return client


class Plc:
    """Calls the methods of a vision system and keeps the events that it tells."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events: list[dict] = []

    async def begin(self, events: bool = True) -> "Plc":
        self.index = await self.client.get_namespace_index(MACHINE_VISION)
        own = await self.client.get_namespace_index(OWN)
        # asyncua knows a TrimmedString of OPC UA itself and takes no other of this name.
        ua.register_basetype("TrimmedString", ua.NodeId(3017, self.index), ua.String)
        await self.client.load_data_type_definitions()
        self.system = self.client.get_node(ua.NodeId("VisionSystem", own))
        names = ("VisionStateMachine", "RecipeManagement", "ResultManagement")
        self.machine, self.recipes, self.results = [await self.system.get_child(f"{self.index}:{n}") for n in names]
        self.automatic = await self.machine.get_child(f"{self.index}:AutomaticModeStateMachine")
        self.last = await self.results.get_child(f"{own}:LastResult")
        if events:
            self.subscription = await self.client.create_subscription(20, self)
            types = [self.client.get_node(ua.NodeId(number, self.index)) for number in EVENTS]
            await self.subscription.subscribe_events(self.client.nodes.server, types)
        return self

    def event_notification(self, event) -> None:
        fields = {name: getattr(event, name) for name in vars(event) if name[0].isupper()}
        self.events.append({"kind": EVENTS[event.EventType.Identifier], **fields})

    def of_kind(self, kind: str) -> list[dict]:
        return [event for event in self.events if event["kind"] == kind]

    async def wait(self, condition, what: str):
        """Of a condition, its first true value."""
        end = time.monotonic() + PATIENCE
        while True:
            value = condition()
            value = await value if asyncio.iscoroutine(value) else value
            if value:
                return value
            assert time.monotonic() < end, f"waited in vain for {what}"
            await asyncio.sleep(0.02)

    async def event(self, kind: str, number: int = 1) -> dict:
        """The n-th event of a kind."""
        await self.wait(lambda: len(self.of_kind(kind)) >= number, f"{kind} {number}")
        return self.of_kind(kind)[number - 1]

    async def state(self) -> str:
        """Of the innermost active state machine."""
        try:
            return (await (await self.automatic.get_child("0:CurrentState")).read_value()).Text
        except ua.UaStatusCodeError as error:
            assert error.code == ua.StatusCodes.BadStateNotActive
            return (await (await self.machine.get_child("0:CurrentState")).read_value()).Text

    async def in_state(self, state: str) -> None:
        async def there() -> bool:
            return await self.state() == state

        await self.wait(there, state)

    async def call(self, owner, method: str, *arguments):
        return await owner.call_method(f"{self.index}:{method}", *arguments)

    async def prepare(self, recipe: str, **fields):
        external = ua.RecipeIdExternalDataType(Id=recipe, **fields)
        return await self.call(self.recipes, "PrepareRecipe", external, ua.RecipeIdInternalDataType())

    async def unprepare(self, recipe: str = ""):
        external = ua.RecipeIdExternalDataType(Id=recipe)
        return await self.call(self.recipes, "UnprepareRecipe", external, ua.RecipeIdInternalDataType())

    async def start(self, part: str = "", method: str = "StartSingleJob", recipe: str = "", meas: str = ""):
        return await self.call(
            self.automatic, method, ua.MeasIdDataType(Id=meas), ua.PartIdDataType(Id=part),
            ua.RecipeIdExternalDataType(Id=recipe), ua.ProductIdDataType(),
            ua.Variant([], ua.VariantType.Variant, is_array=True),
        )  # fmt: skip

    async def command(self, method: str) -> int:
        owner = self.machine if method in ("Halt", "Reset") else self.automatic
        return await self.call(owner, method, 0, "test")

    async def result(self, result_id: str):
        """(handle, result, error)"""
        return await self.call(self.results, "GetResultById", ua.ResultIdDataType(Id=result_id), 0)

    async def listed(self, part: str = "", state: int = 0, most: int = 10, start: int = 0):
        counts = [ua.Variant(value, ua.VariantType.UInt32) for value in (most, start)]
        return await self.call(
            self.results, "GetResultListFiltered", state, ua.MeasIdDataType(), ua.PartIdDataType(Id=part),
            ua.RecipeIdExternalDataType(), ua.RecipeIdInternalDataType(), ua.ConfigurationIdDataType(),
            ua.ConfigurationIdDataType(), ua.ProductIdDataType(), ua.JobIdDataType(), *counts, 0,
        )  # fmt: skip

    async def polled(self, name: str):
        """A field of LastResult."""
        return await (await self.last.get_child(f"{self.index}:{name}")).read_value()


def good(event: dict) -> bool:
    """What a careful PLC takes for a good part: every field must say so."""
    told = json.loads(event["ResultContent"][0].Value)
    return bool(
        event["ResultState"] == 1 and not event["IsPartial"] and told["good"] is True and told["verdict"] == "PASS"
    )


def say(**fields) -> None:
    print(json.dumps(fields), flush=True)


async def one_part(endpoint: str, folder: Path, part: str) -> None:
    """Connect, prepare, start, take the result and fetch it once more."""
    user, password = (folder / "first_password.txt").read_text().split()
    async with await client_of(endpoint, folder, user, password) as client:
        plc = await Plc(client).begin()
        await plc.in_state("Initialized")
        _, _, error = await plc.prepare("damaged")
        say(step="refused", error=error, state=await plc.state())
        _, completed, error = await plc.prepare("bracket")
        say(step="prepared", completed=completed, error=error, state=await plc.state())
        job, error = await plc.start(part, meas="m1")
        told = await plc.event("ResultReady")
        _, fetched, fetch_error = await plc.result(told["ResultId"].Id)
        await plc.in_state("Ready")
        say(
            step="result", error=error, job=job.Id == told["JobId"].Id == fetched.JobId.Id, part=told["PartId"].Id,
            meas=told["MeasId"].Id, good=good(told), fetched=fetch_error == 0 and fetched.ResultState == 1,
            same=fetched.ResultContent[0].Value == told["ResultContent"][0].Value, result=told["ResultId"].Id,
            order=[event["kind"] for event in plc.events],
        )  # fmt: skip
        _, _, unknown = await plc.result("of another time")
        say(step="unknown", error=unknown)


async def handshake(endpoint: str, folder: Path) -> None:
    await one_part(endpoint, folder, "part 1")
    sys.stdin.readline()  # the server is restarted meanwhile
    await one_part(endpoint, folder, "part 2")


if __name__ == "__main__":
    asyncio.run(handshake(sys.argv[1], Path(sys.argv[2])))
