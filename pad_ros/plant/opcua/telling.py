"""Shows what happens to the vision system: variables of the server and events."""

from __future__ import annotations

import time
import uuid
from typing import Any

from asyncua import Node, Server, ua
from asyncua.common.events import get_event_obj_from_type_node

from ..plant_result import as_utc
from .address_space import LAST_RESULT, AddressSpace
from .machine import State, Transition, VisionMachine
from .records import Answered, BecameReady, Happening, Job, JobStarted, Moved, RecipePrepared, ResultState, Said
from .structures import Structures

NORMAL, NOTABLE, SERIOUS = 200, 500, 800  # severities of events, of 1 to 1000
LANGUAGE = "en"


class Telling:
    """Makes happenings visible, one after the other."""

    def __init__(self, server: Server, space: AddressSpace, structures: Structures) -> None:
        self._server, self._space, self._structures = server, space, structures
        self._machine = VisionMachine()  # as it is shown
        self._events: dict[str, Any] = {}
        self._last: dict[str, Node] = {}

    async def begin(self) -> None:
        for name in LAST_RESULT:
            self._last[name] = await self._space.last_result.get_child(ua.QualifiedName(name, self._space.index))
        await self._show_states()
        await self._show(self._structures.fields(None))

    async def tell(self, happening: Happening) -> None:
        match happening:
            case Moved(transition, text):
                await self._moved(transition, text)
            case JobStarted(job):
                await self._show_processing(job)
                await self._event("JobStartedEventType", f"job {job.job_id}", {"JobId": self._id("Job", job.job_id)})
            case BecameReady(job_id):
                await self._event("ReadyEventType", "ready for a job", {"JobId": self._id("Job", job_id)})
            case RecipePrepared(recipe):
                internal = self._structures.internal(recipe.external_id, recipe.model.hash)
                fields = {"ExternalId": self._structures.external(recipe), "InternalId": internal}
                await self._event("RecipePreparedEventType", f"recipe {recipe.external_id} is prepared", fields)
            case Answered(stored):
                fields = self._structures.fields(stored)
                await self._show(fields)
                good = stored.state is ResultState.COMPLETED
                text = f"{stored.result.verdict.name} {stored.result.reason.name} {stored.result.reason_text}".strip()
                await self._event("ResultReadyEventType", text, fields, NORMAL if good else NOTABLE)
            case Said(text):
                await self._event("VisionInformationEventType", text, {"JobId": self._id("Job", "")}, NOTABLE)

    # ---- variables ----

    async def _moved(self, transition: Transition, text: str) -> None:
        before, self._machine.state = self._machine.state, transition.target
        await self._show_states()
        if not transition.target.automatic:
            await self._show(self._structures.fields(None))
        fields = {
            "Transition": ua.LocalizedText(transition.name, LANGUAGE),
            "Transition/Id": self._space.transition(transition.number),
            "FromState": ua.LocalizedText(before.browse_name, LANGUAGE),
            "FromState/Id": self._space.state(before),
            "ToState": ua.LocalizedText(transition.target.browse_name, LANGUAGE),
            "ToState/Id": self._space.state(transition.target),
        }
        failed, mended = transition.target is State.ERROR, before is State.ERROR
        await self._event("StateChangedEventType", text, fields, SERIOUS if failed else NORMAL)
        if failed:
            await self._event("ErrorEventType", text, fields, SERIOUS)
        elif mended:
            await self._event("ErrorResolvedEventType", text, fields)

    async def _show_states(self) -> None:
        await self._show_state(self._space.state_machine, self._machine.top)
        await self._show_state(self._space.automatic_mode, self._machine.automatic)

    async def _show_state(self, owner: Node, state: State | None) -> None:
        """CurrentState of a state machine; None: it is not active, which clients see as a bad value."""
        current = await owner.get_child("0:CurrentState")
        nodes = (current, await current.get_child("0:Id"), await current.get_child("0:Number"))
        if state is None:
            shown = [ua.DataValue(ua.Variant(None), ua.StatusCode(ua.StatusCodes.BadStateNotActive))] * len(nodes)
        else:
            values = (
                (ua.LocalizedText(state.browse_name, LANGUAGE), ua.VariantType.LocalizedText),
                (self._space.state(state), ua.VariantType.NodeId),
                (int(state), ua.VariantType.UInt32),
            )
            shown = [ua.DataValue(ua.Variant(value, kind)) for value, kind in values]
        for node, value in zip(nodes, shown, strict=True):
            await self._server.write_attribute_value(node.nodeid, value)

    async def _show_processing(self, job: Job) -> None:
        """LastResult while a job runs: nothing that could be taken for the result of the job before."""
        fields = self._structures.fields(None)
        fields["ResultState"] = ResultState.PROCESSING.value
        fields["JobId"], fields["PartId"] = self._id("Job", job.job_id), self._id("Part", job.part_id)
        await self._show(fields)

    async def _show(self, fields: dict[str, Any]) -> None:
        """LastResult. The state first falls to what says nothing, and is set last: who reads in between is safe."""
        state = LAST_RESULT[0]
        await self._write(self._last[state], ResultState.UNDEFINED.value, ua.VariantType.Int32)
        for name in LAST_RESULT[1:]:
            await self._write(self._last[name], fields.get(name, EMPTY.get(name)), KINDS.get(name, STRUCTURE))
        whole = self._structures.structure(fields)
        await self._write(self._space.last_result, whole, STRUCTURE)
        await self._write(self._last[state], fields[state], ua.VariantType.Int32)

    async def _write(self, node: Node, value: Any, kind: ua.VariantType) -> None:
        value = self._structures.id("Part", "") if value is None else value
        array = isinstance(value, list)
        await self._server.write_attribute_value(node.nodeid, ua.DataValue(ua.Variant(value, kind, is_array=array)))

    # ---- events ----

    def _id(self, kind: str, value: str) -> Any:
        return self._structures.id(kind, value)

    async def _event(self, name: str, text: str, fields: dict[str, Any], severity: int = NORMAL) -> None:
        """To those who listen to the server, and to those who listen to the vision system."""
        if name not in self._events:
            node = self._server.get_node(self._space.event_type(name))
            self._events[name] = await get_event_obj_from_type_node(node)
            known = self._events[name].data_types
            known.update({field: ua.VariantType.NodeId for field in known if field.endswith("/Id")})
        event, now = self._events[name], as_utc(time.time_ns())
        event.EventId = uuid.uuid4().bytes
        event.SourceNode, event.SourceName = self._space.system.nodeid, "VisionSystem"
        event.Time = event.ReceiveTime = now
        event.Message, event.Severity = ua.LocalizedText(text[:1000], LANGUAGE), severity
        for field in fields.keys() & event.data_types.keys():
            setattr(event, field, fields[field])
        for emitting in (self._server.nodes.server.nodeid, self._space.system.nodeid):
            event.emitting_node = emitting
            await self._server.iserver.subscription_service.trigger_event(event)


STRUCTURE = ua.VariantType.ExtensionObject
KINDS = {
    "IsPartial": ua.VariantType.Boolean,
    "CreationTime": ua.VariantType.DateTime,
    "ResultContent": ua.VariantType.Variant,
}
EMPTY: dict[str, Any] = {"ResultContent": []}
