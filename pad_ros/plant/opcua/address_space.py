"""Builds the types and objects of nodeset.py in an asyncua server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asyncua import Node, Server, ua
from asyncua.common.manage_nodes import create_data_type, create_encoding, create_property

from . import nodeset as n
from .machine import TRANSITIONS, State

ARRAY, SCALAR = 1, -1


@dataclass(frozen=True)
class AddressSpace:
    """What was built. structures: Python class by name. methods: node by name."""

    index: int  # of the companion specification's namespace
    structures: dict[str, type]
    system: Node
    state_machine: Node
    automatic_mode: Node
    last_result: Node
    methods: dict[str, Node]

    def event_type(self, name: str) -> ua.NodeId:
        return ua.NodeId(next(number for number, known, *_ in n.EVENTS if known == name), self.index)

    def state(self, state: State) -> ua.NodeId:
        return ua.NodeId(n.STATES[state][0], self.index)

    def transition(self, number: int) -> ua.NodeId:
        return ua.NodeId(n.TRANSITION_IDS[number][0], self.index)


class Builder:
    """Adds nodes; names and ids of the companion specification are in namespace `index`, ours in `own`."""

    def __init__(self, server: Server, index: int, own: int) -> None:
        self._server, self._index, self._own = server, index, own

    async def build(self, name: str) -> AddressSpace:
        """All of it; `name` is that of the vision system's object. Call once, before the server starts."""
        await self._data_types()
        # asyncua knows a TrimmedString of OPC UA itself and takes no other of this name.
        ua.register_basetype("TrimmedString", self._id(n.TRIMMED_STRING.id), ua.String)
        await self._server.load_data_type_definitions()
        structures = {name: ua.extension_objects_by_datatype[self._id(number)] for number, name, *_ in n.STRUCTURES}
        await self._event_types(structures)
        for number, type_name, base in n.TYPES:
            node = await self._node(base).add_object_type(self._id(number), self._name(type_name))
            for method in n.METHODS.get(number, ()):
                await self._method(node, method)
        await self._states_and_transitions()
        return await self._objects(name, structures)

    # ---- types ----

    async def _data_types(self) -> None:
        for number, name, base in n.SIMPLE_TYPES:
            await create_data_type(self._node(base), self._id(number), self._name(name))
        enum = await create_data_type(
            self._node(n.ENUMERATION), self._id(n.TRI_STATE.id), self._name("TriStateBooleanDataType")
        )
        fields = [ua.EnumField(Name=name, Value=value) for value, name in enumerate(n.TRI_STATE_VALUES)]
        await enum.write_data_type_definition(ua.EnumDefinition(Fields=fields))
        for number, name, parent, encoding, members in n.STRUCTURES:
            base = self._node(n.STRUCTURE) if parent is None else self._server.get_node(self._id(parent))
            node = await create_data_type(base, self._id(number), self._name(name))
            await create_encoding(node, self._id(encoding), ua.QualifiedName("Default Binary", 0))
            definition = ua.StructureDefinition(
                DefaultEncodingId=self._id(encoding),
                BaseDataType=base.nodeid,
                StructureType=ua.StructureType.Structure,
                Fields=[self._field(member) for member in members],
            )
            if any(field.IsOptional for field in definition.Fields):
                definition.StructureType = ua.StructureType.StructureWithOptionalFields
            await node.write_data_type_definition(definition)
            await self._mark_abstract(node, number)

    async def _mark_abstract(self, node: Node, number: int) -> None:
        abstract = ua.DataValue(ua.Variant(number in n.ABSTRACT, ua.VariantType.Boolean))
        await node.write_attribute(ua.AttributeIds.IsAbstract, abstract)

    def _field(self, member: n.Field) -> ua.StructureField:
        name, kind, how = member
        rank = ua.Int32(ARRAY if "array" in how else SCALAR)
        dimensions = [ua.UInt32(0)] if "array" in how else None
        return ua.StructureField(
            Name=name, DataType=self._type(kind), ValueRank=rank, ArrayDimensions=dimensions,
            IsOptional="optional" in how,
        )  # fmt: skip

    async def _event_types(self, structures: dict[str, type]) -> None:
        for number, name, base, properties in n.EVENTS:
            base_node = self._server.get_node(self._type(base))
            node = await base_node.add_object_type(self._id(number), self._name(name))
            await self._mark_abstract(node, number)
            for own, property_name, kind, how in properties:
                value, variant = self._initial(kind, how, structures)
                added = await create_property(
                    node, self._id(own), self._name(property_name), value, variant, self._type(kind)
                )
                await added.set_modelling_rule("optional" not in how)

    def _initial(self, kind: n.DataType, how: str, structures: dict[str, type]) -> tuple[Any, ua.VariantType]:
        """A value of the type, and how it is coded."""
        if "array" in how:
            return [], ua.VariantType.Variant
        if isinstance(kind, n.Ref):
            for number, name, *_ in n.STRUCTURES:
                if number == kind.id:
                    return structures[name](), ua.VariantType.ExtensionObject
            return 0, ua.VariantType.Int32  # ResultStateDataType
        return {
            n.BOOLEAN: (False, ua.VariantType.Boolean),
            n.UTC_TIME: (ua.get_win_epoch(), ua.VariantType.DateTime),
        }[kind]

    async def _method(self, parent: Node, method: n.Method) -> None:
        node = await parent.add_method(self._id(method.id), self._name(method.name), _not_here)
        for number, name, members in (
            (method.inputs_id, "InputArguments", method.inputs),
            (method.outputs_id, "OutputArguments", method.outputs),
        ):
            arguments = [
                ua.Argument(
                    Name=field, DataType=self._type(kind), ValueRank=ua.Int32(ARRAY if how else SCALAR),
                    ArrayDimensions=[ua.UInt32(0)] if how else [], Description=ua.LocalizedText(field),
                )
                for field, kind, how in members
            ]  # fmt: skip
            added = await create_property(
                node, self._id(number), ua.QualifiedName(name, 0), arguments, ua.VariantType.ExtensionObject,
                ua.ObjectIds.Argument,
            )  # fmt: skip
            await added.set_modelling_rule(True)
        await node.set_modelling_rule(True)

    async def _states_and_transitions(self) -> None:
        for state in State:
            owner = n.AUTOMATIC_MODE if state.automatic else n.STATE_MACHINE
            number_id = n.STATES[state][1]
            await self._part(
                owner, n.STATES[state][0], state.browse_name, n.STATE_TYPE, (number_id, "StateNumber", state)
            )
        for transition in TRANSITIONS:
            owner = n.AUTOMATIC_MODE if transition.source.automatic else n.STATE_MACHINE
            own, number_id = n.TRANSITION_IDS[transition.number]
            numbered = (number_id, "TransitionNumber", transition.number)
            node = await self._part(owner, own, transition.name, n.TRANSITION_TYPE, numbered)
            for reference, state in (("FromState", transition.source), ("ToState", transition.target)):
                kind = ua.NodeId(getattr(ua.ObjectIds, reference))
                await node.add_reference(self._id(n.STATES[state][0]), kind, forward=True, bidirectional=False)

    async def _part(self, owner: int, own: int, name: str, kind: int, number: tuple[int, str, int]) -> Node:
        """A state or transition of a type, with its number."""
        item = ua.AddNodesItem(
            RequestedNewNodeId=self._id(own),
            BrowseName=self._name(name),
            ParentNodeId=self._id(owner),
            ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasComponent),
            NodeClass=ua.NodeClass.Object,
            TypeDefinition=ua.NodeId(kind),
        )
        item.NodeAttributes = ua.ObjectAttributes(DisplayName=ua.LocalizedText(name))
        (added,) = await self._server.iserver.isession.add_nodes([item])
        added.StatusCode.check()
        node = self._server.get_node(added.AddedNodeId)
        number_id, number_name, value = number
        await create_property(
            node, self._id(number_id), ua.QualifiedName(number_name, 0), int(value), ua.VariantType.UInt32
        )
        return node

    # ---- objects ----

    async def _objects(self, name: str, structures: dict[str, type]) -> AddressSpace:
        system = await self._object(
            self._server.nodes.objects, name, n.VISION_SYSTEM, ua.QualifiedName(name, self._own)
        )
        machine = await self._object(system, f"{name}.VisionStateMachine", n.STATE_MACHINE)
        automatic = await self._object(machine, f"{name}.AutomaticModeStateMachine", n.AUTOMATIC_MODE)
        recipes = await self._object(system, f"{name}.RecipeManagement", n.RECIPE_MANAGEMENT)
        results = await self._object(system, f"{name}.ResultManagement", n.RESULT_MANAGEMENT)
        for owner in (machine, automatic):
            current = await owner.get_child("0:CurrentState")
            number = ua.NodeId(f"{owner.nodeid.Identifier}.CurrentState.Number", self._own)
            await create_property(current, number, ua.QualifiedName("Number", 0), 0, ua.VariantType.UInt32)
        methods: dict[str, Node] = {}
        for number, owner in (
            (n.STATE_MACHINE, machine),
            (n.AUTOMATIC_MODE, automatic),
            (n.RECIPE_MANAGEMENT, recipes),
            (n.RESULT_MANAGEMENT, results),
        ):
            for method in n.METHODS[number]:
                methods[method.name] = await owner.get_child(self._name(method.name))
        last = await self._last_result(results, structures)
        return AddressSpace(self._index, structures, system, machine, automatic, last, methods)

    async def _object(self, parent: Node, identifier: str, kind: int, name: ua.QualifiedName | None = None) -> Node:
        name = name or self._name(identifier.rpartition(".")[2])
        node = await parent.add_object(
            ua.NodeId(identifier, self._own), name, objecttype=self._id(kind), instantiate_optional=False
        )
        await node.set_event_notifier([ua.EventNotifier.SubscribeToEvents])
        return node

    async def _last_result(self, results: Node, structures: dict[str, type]) -> Node:
        """The newest result as a variable, with a variable for each field: for clients that poll."""
        identifier = f"{results.nodeid.Identifier}.LastResult"
        node = await results.add_variable(
            ua.NodeId(identifier, self._own), ua.QualifiedName("LastResult", self._own), structures["ResultDataType"](),
            ua.VariantType.ExtensionObject, self._type(n.RESULT),
        )  # fmt: skip
        for name, kind, how in n.RESULT_FIELDS:
            if name in LAST_RESULT:
                value, variant = self._initial(kind, how, structures)
                own = ua.NodeId(f"{identifier}.{name}", self._own)
                await node.add_variable(own, self._name(name), value, variant, self._type(kind))
        return node

    # ---- names and ids ----

    def _id(self, number: int) -> ua.NodeId:
        return ua.NodeId(number, self._index)

    def _name(self, name: str) -> ua.QualifiedName:
        return ua.QualifiedName(name, self._index)

    def _type(self, kind: n.DataType) -> ua.NodeId:
        return self._id(kind.id) if isinstance(kind, n.Ref) else ua.NodeId(kind)

    def _node(self, number: int) -> Node:
        """Of OPC UA itself."""
        return self._server.get_node(ua.NodeId(number))


# The fields of LastResult that are variables of their own; the first is written last when a result comes.
LAST_RESULT = ("ResultState", "IsPartial", "ResultId", "PartId", "JobId", "CreationTime", "ResultContent")


def _not_here(parent: ua.NodeId, *arguments: ua.Variant) -> ua.StatusCode:
    """A method of a type: only those of objects can be called."""
    return ua.StatusCode(ua.StatusCodes.BadMethodInvalid)
