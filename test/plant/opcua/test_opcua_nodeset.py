"""The tables of the information model, against the specification's own file where it is at hand."""

import xml.etree.ElementTree as ElementTree

import pytest

from pad_ros.plant.opcua import nodeset as n
from pad_ros.plant.opcua.machine import TRANSITIONS, State

XML = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
TYPES = "{http://opcfoundation.org/UA/2008/02/Types.xsd}"


@pytest.fixture(scope="module")
def specified(shared):
    """NodeId -> element, and the aliases, of the OPC Foundation's file (github.com/OPCFoundation/UA-Nodeset, MIT)."""
    path = shared / "opcua" / "Opc.Ua.MachineVision.NodeSet2.xml"
    if not path.is_file():
        pytest.skip(f"{path.name} of the OPC Foundation is not at {path.parent}")
    root = ElementTree.parse(path).getroot()
    aliases = {alias.get("Alias"): alias.text for alias in root.find(f"{XML}Aliases")}
    return {element.get("NodeId"): element for element in root if element.get("NodeId")}, aliases


def node(specified, number: int) -> ElementTree.Element:
    return specified[0][f"ns=1;i={number}"]


def name_of(element: ElementTree.Element) -> str:
    return element.get("BrowseName").rpartition(":")[2]


def kind_of(kind: n.DataType) -> str:
    return f"ns=1;i={kind.id}" if isinstance(kind, n.Ref) else f"i={kind}"


def references(specified, element: ElementTree.Element, kind: str, forward: bool = True) -> list[str]:
    nodes, aliases = specified
    found = element.findall(f"{XML}References/{XML}Reference")
    wanted = {kind, aliases.get(kind, kind)}
    return [r.text for r in found if r.get("ReferenceType") in wanted and (r.get("IsForward") != "false") == forward]


def test_structures_have_the_specified_fields(specified):
    nodes, aliases = specified
    inherited = [field[0] for field in n.BINARY_ID]
    for number, name, parent, encoding, fields in n.STRUCTURES:
        element = node(specified, number)
        definition = element.find(f"{XML}Definition")
        found = [] if definition is None else [
            (f.get("Name"), aliases.get(f.get("DataType"), f.get("DataType") or "i=24"),
             " ".join(["optional"] * (f.get("IsOptional") == "true") + ["array"] * (f.get("ValueRank") == "1")))
            for f in definition
        ]  # fmt: skip
        own = [field for field in fields if parent is None or field[0] not in inherited]
        assert name_of(element) == name
        assert [(field, kind_of(kind), how) for field, kind, how in own] == found, name
        assert f"ns=1;i={encoding}" in references(specified, element, "HasEncoding")
        assert name_of(node(specified, encoding)) == "Default Binary"
        assert (element.get("IsAbstract") == "true") == (number in n.ABSTRACT)
        base = f"ns=1;i={parent}" if parent else f"i={n.STRUCTURE}"
        assert references(specified, element, "HasSubtype", forward=False) == [base]


def test_simple_types_are_the_specified(specified):
    for number, name, base in n.SIMPLE_TYPES:
        element = node(specified, number)
        assert name_of(element) == name
        assert references(specified, element, "HasSubtype", forward=False) == [f"i={base}"]
    values = node(specified, n.TRI_STATE.id).find(f"{XML}Definition")
    assert tuple(field.get("Name") for field in values) == n.TRI_STATE_VALUES


def test_events_are_the_specified(specified):
    for number, name, base, properties in n.EVENTS:
        element = node(specified, number)
        assert name_of(element) == name
        assert references(specified, element, "HasSubtype", forward=False) == [kind_of(base)]
        assert (element.get("IsAbstract") == "true") == (number in n.ABSTRACT)
        for own, property_name, kind, how in properties:
            found = node(specified, own)
            data_type = specified[1].get(found.get("DataType"), found.get("DataType") or "i=24")
            rule = references(specified, found, "HasModellingRule")
            assert (name_of(found), data_type) == (property_name, kind_of(kind))
            assert found.get("ParentNodeId") == f"ns=1;i={number}"
            assert rule == ["i=80" if "optional" in how else "i=78"], property_name


def test_methods_are_the_specified(specified):
    for owner, methods in n.METHODS.items():
        for method in methods:
            element = node(specified, method.id)
            assert (name_of(element), element.get("ParentNodeId")) == (method.name, f"ns=1;i={owner}")
            for number, members in ((method.inputs_id, method.inputs), (method.outputs_id, method.outputs)):
                found = [
                    (argument.find(f"{TYPES}Name").text, argument.find(f"{TYPES}DataType/{TYPES}Identifier").text,
                     argument.find(f"{TYPES}ValueRank").text == "1")
                    for argument in node(specified, number).iter(f"{TYPES}Argument")
                ]  # fmt: skip
                assert [(name, kind_of(kind), how == "array") for name, kind, how in members] == found, method.name


def test_types_states_and_transitions_are_the_specified(specified):
    for number, name, base in n.TYPES:
        assert name_of(node(specified, number)) == name
        assert references(specified, node(specified, number), "HasSubtype", forward=False) == [f"i={base}"]
    for state in State:
        own, number = n.STATES[state]
        assert name_of(node(specified, own)) == state.browse_name
        assert node(specified, number).find(f"{XML}Value")[0].text == str(int(state))
    for transition in TRANSITIONS:
        own, number = n.TRANSITION_IDS[transition.number]
        element = node(specified, own)
        assert name_of(element) == transition.name
        assert node(specified, number).find(f"{XML}Value")[0].text == str(transition.number)
        assert references(specified, element, "FromState") == [f"ns=1;i={n.STATES[transition.source][0]}"]
        assert references(specified, element, "ToState") == [f"ns=1;i={n.STATES[transition.target][0]}"]
        causes = [name_of(specified[0][cause]) for cause in references(specified, element, "HasCause")]
        assert causes == ([transition.cause] if transition.cause else [])


def test_every_table_is_complete():
    """Without the specification: ids are unique, and every state, transition and structure has one."""
    assert set(n.STATES) == set(State) and set(n.TRANSITION_IDS) == {t.number for t in TRANSITIONS}
    ids = [number for number, *_ in (*n.SIMPLE_TYPES, *n.TYPES)]
    ids += [i for number, _, _, encoding, _ in n.STRUCTURES for i in (number, encoding)]
    ids += [i for number, _, _, properties in n.EVENTS for i in (number, *(own for own, *_ in properties))]
    ids += [i for methods in n.METHODS.values() for m in methods for i in (m.id, m.inputs_id, m.outputs_id)]
    ids += [i for pair in (*n.STATES.values(), *n.TRANSITION_IDS.values()) for i in pair]
    assert len(ids) == len(set(ids))
