"""The part of OPC 40100-1's information model that is served: names and numeric node ids, as tables.

Ids and names are those of the specification's namespace, so that a client that knows the specification finds what it
expects. Names without an id of their own in a table belong to OPC UA itself.
"""

from __future__ import annotations

from dataclasses import dataclass

URI = "http://opcfoundation.org/UA/MachineVision"

# Of OPC UA itself (namespace 0).
BOOLEAN, INT32, UINT32, STRING, BYTE_STRING, BASE_DATA, LOCALIZED_TEXT, STRUCTURE = 1, 6, 7, 12, 15, 24, 21, 22
ENUMERATION, DURATION, UTC_TIME = 29, 290, 294
BASE_OBJECT_TYPE, FINITE_STATE_MACHINE_TYPE, BASE_EVENT_TYPE, TRANSITION_EVENT_TYPE = 58, 2771, 2041, 2311
STATE_TYPE, TRANSITION_TYPE = 2307, 2310


@dataclass(frozen=True)
class Ref:
    """A type of this namespace, by its id; a plain number is one of OPC UA itself."""

    id: int


HANDLE, TRIMMED_STRING, RESULT_STATE, TRI_STATE = Ref(3018), Ref(3017), Ref(3009), Ref(3014)
RECIPE_EXTERNAL, RECIPE_INTERNAL, CONFIGURATION_ID = Ref(3002), Ref(3013), Ref(3008)
JOB_ID, MEAS_ID, PART_ID, PRODUCT_ID, RESULT_ID = Ref(3016), Ref(3015), Ref(3004), Ref(3003), Ref(3021)
PROCESSING_TIMES, RESULT = Ref(3005), Ref(3006)

DataType = Ref | int
Field = tuple[str, DataType, str]  # name, type, "" or "optional", "array", "optional array"

SIMPLE_TYPES = (  # id, name, base
    (3018, "Handle", UINT32),
    (3017, "TrimmedString", STRING),
    (3009, "ResultStateDataType", INT32),
)
TRI_STATE_VALUES = ("FALSE_0", "TRUE_1", "DONTCARE_2")

BINARY_ID: tuple[Field, ...] = (
    ("Id", TRIMMED_STRING, ""),
    ("Version", TRIMMED_STRING, "optional"),
    ("Hash", BYTE_STRING, "optional"),
    ("HashAlgorithm", STRING, "optional"),
    ("Description", LOCALIZED_TEXT, "optional"),
)
ID: tuple[Field, ...] = (("Id", TRIMMED_STRING, ""),)
DESCRIBED_ID: tuple[Field, ...] = (*ID, ("Description", LOCALIZED_TEXT, "optional"))
RESULT_FIELDS: tuple[Field, ...] = (
    ("ResultId", RESULT_ID, ""),
    ("HasTransferableDataOnFile", BOOLEAN, "optional"),
    ("IsPartial", BOOLEAN, ""),
    ("IsSimulated", BOOLEAN, "optional"),
    ("ResultState", RESULT_STATE, ""),
    ("MeasId", MEAS_ID, "optional"),
    ("PartId", PART_ID, "optional"),
    ("ExternalRecipeId", RECIPE_EXTERNAL, "optional"),
    ("InternalRecipeId", RECIPE_INTERNAL, ""),
    ("ProductId", PRODUCT_ID, "optional"),
    ("ExternalConfigurationId", CONFIGURATION_ID, "optional"),
    ("InternalConfigurationId", CONFIGURATION_ID, ""),
    ("JobId", JOB_ID, ""),
    ("CreationTime", UTC_TIME, ""),
    ("ProcessingTimes", PROCESSING_TIMES, "optional"),
    ("ResultContent", BASE_DATA, "optional array"),
)
STRUCTURES: tuple[tuple[int, str, int | None, int, tuple[Field, ...]], ...] = (
    # id, name, parent in this namespace, id of its binary encoding, fields with those of the parent
    (3019, "BinaryIdBaseDataType", None, 5027, BINARY_ID),
    (3008, "ConfigurationIdDataType", 3019, 5090, BINARY_ID),
    (3002, "RecipeIdExternalDataType", 3019, 5002, BINARY_ID),
    (3013, "RecipeIdInternalDataType", 3019, 5268, BINARY_ID),
    (3016, "JobIdDataType", None, 5008, ID),
    (3021, "ResultIdDataType", None, 5274, ID),
    (3015, "MeasIdDataType", None, 5006, DESCRIBED_ID),
    (3004, "PartIdDataType", None, 5013, DESCRIBED_ID),
    (3003, "ProductIdDataType", None, 5224, DESCRIBED_ID),
    (
        3005, "ProcessingTimesDataType", None, 5016,
        (
            ("StartTime", UTC_TIME, ""), ("EndTime", UTC_TIME, ""), ("AcquisitionDuration", DURATION, "optional"),
            ("ProcessingDuration", DURATION, "optional"),
        ),
    ),
    (3006, "ResultDataType", None, 5018, RESULT_FIELDS),
)  # fmt: skip

ABSTRACT = {3019, 1015}  # types that nothing is directly of

EVENTS: tuple[tuple[int, str, DataType, tuple[tuple[int, str, DataType, str], ...]], ...] = (
    # id, name, base, properties: id, name, type, kind
    (1018, "StateChangedEventType", TRANSITION_EVENT_TYPE, ()),
    (1019, "ErrorEventType", TRANSITION_EVENT_TYPE, ()),
    (1020, "ErrorResolvedEventType", TRANSITION_EVENT_TYPE, ()),
    (1013, "JobStartedEventType", BASE_EVENT_TYPE, ((6141, "JobId", JOB_ID, ""),)),
    (1023, "ReadyEventType", BASE_EVENT_TYPE, ((6294, "JobId", JOB_ID, ""),)),
    (
        1022, "RecipePreparedEventType", BASE_EVENT_TYPE,
        ((6291, "ExternalId", RECIPE_EXTERNAL, "optional"), (6140, "InternalId", RECIPE_INTERNAL, "")),
    ),
    (
        1024, "ResultReadyEventType", BASE_EVENT_TYPE,
        (
            (6295, "ResultId", RESULT_ID, ""), (6296, "IsPartial", BOOLEAN, ""),
            (6297, "IsSimulated", BOOLEAN, "optional"), (6298, "ResultState", RESULT_STATE, ""),
            (6299, "MeasId", MEAS_ID, "optional"), (6304, "PartId", PART_ID, "optional"),
            (6301, "ExternalRecipeId", RECIPE_EXTERNAL, "optional"), (6302, "InternalRecipeId", RECIPE_INTERNAL, ""),
            (6142, "InternalConfigurationId", CONFIGURATION_ID, ""), (6300, "JobId", JOB_ID, ""),
            (6303, "CreationTime", UTC_TIME, ""), (6305, "ProcessingTimes", PROCESSING_TIMES, "optional"),
            (6306, "ResultContent", BASE_DATA, "optional array"),
        ),
    ),
    (1015, "VisionEventType", BASE_EVENT_TYPE, ((6203, "JobId", JOB_ID, "optional"),)),
    (1038, "VisionInformationEventType", Ref(1015), ()),
)  # fmt: skip


@dataclass(frozen=True)
class Method:
    """A method of a type. inputs_id, outputs_id: of its lists of arguments."""

    id: int
    name: str
    inputs_id: int
    outputs_id: int
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]


ERROR: Field = ("Error", INT32, "")
CAUSE: tuple[Field, ...] = (("Cause", INT32, ""), ("CauseDescription", STRING, ""))
START: tuple[Field, ...] = (
    ("MeasId", MEAS_ID, ""), ("PartId", PART_ID, ""), ("RecipeId", RECIPE_EXTERNAL, ""), ("ProductId", PRODUCT_ID, ""),
    ("Parameters", BASE_DATA, "array"),
)  # fmt: skip
STARTED: tuple[Field, ...] = (("JobId", JOB_ID, ""), ERROR)
RECIPE_IDS: tuple[Field, ...] = (("ExternalId", RECIPE_EXTERNAL, ""), ("InternalIdIn", RECIPE_INTERNAL, ""))
PAGE: tuple[Field, ...] = (("MaxResults", UINT32, ""), ("StartIndex", UINT32, ""), ("Timeout", INT32, ""))
BY_ID: tuple[Field, ...] = (("ResultId", RESULT_ID, ""), ("Timeout", INT32, ""))


def _listed(handle: str, name: str, kind: DataType) -> tuple[Field, ...]:
    return ("IsComplete", BOOLEAN, ""), ("ResultCount", UINT32, ""), (handle, HANDLE, ""), (name, kind, "array"), ERROR


COMPONENTS: tuple[Field, ...] = (
    ("HasTransferableDataOnFile", BOOLEAN, ""),
    ("ResultHandle", HANDLE, ""),
    *((name, kind, kinds.replace("optional", "").strip()) for name, kind, kinds in RESULT_FIELDS[2:]),
    ERROR,
)
FILTERS: tuple[Field, ...] = (
    ("ResultState", RESULT_STATE, ""), ("MeasId", MEAS_ID, ""), ("PartId", PART_ID, ""),
    ("ExternalRecipeId", RECIPE_EXTERNAL, ""), ("InternalRecipeId", RECIPE_INTERNAL, ""),
    ("ExternalConfigurationId", CONFIGURATION_ID, ""), ("InternalConfigurationId", CONFIGURATION_ID, ""),
    ("ProductId", PRODUCT_ID, ""), ("JobId", JOB_ID, ""), *PAGE,
)  # fmt: skip

VISION_SYSTEM, STATE_MACHINE, AUTOMATIC_MODE, RECIPE_MANAGEMENT, RESULT_MANAGEMENT = 1003, 1017, 1021, 1004, 1007
METHODS: dict[int, tuple[Method, ...]] = {  # of each type
    STATE_MACHINE: (
        Method(7094, "Halt", 6254, 6255, CAUSE, (ERROR,)),
        Method(7093, "Reset", 6256, 6257, CAUSE, (ERROR,)),
    ),
    AUTOMATIC_MODE: (
        Method(7098, "StartSingleJob", 6281, 6282, START, STARTED),
        Method(7009, "StartContinuous", 6086, 6087, START, STARTED),
        Method(7097, "Abort", 6285, 6286, CAUSE, (ERROR,)),
        Method(7096, "Stop", 6287, 6288, CAUSE, (ERROR,)),
    ),
    RECIPE_MANAGEMENT: (
        Method(
            7015, "PrepareRecipe", 6148, 6149, RECIPE_IDS,
            (("InternalIdOut", RECIPE_INTERNAL, ""), ("IsCompleted", BOOLEAN, ""), ERROR),
        ),
        Method(7055, "UnprepareRecipe", 6152, 6153, RECIPE_IDS, (("InternalIdOut", RECIPE_INTERNAL, ""), ERROR)),
        Method(
            7014, "GetRecipeListFiltered", 6156, 6157,
            (RECIPE_IDS[0], ("ProductId", PRODUCT_ID, ""), ("IsPrepared", TRI_STATE, ""), *PAGE),
            _listed("RecipeHandle", "RecipeList", RECIPE_INTERNAL),
        ),
    ),
    RESULT_MANAGEMENT: (
        Method(
            7026, "GetResultById", 6209, 6210, BY_ID,
            (("ResultHandle", HANDLE, ""), ("Result", RESULT, ""), ERROR),
        ),
        Method(7007, "GetResultComponentsById", 6024, 6025, BY_ID, COMPONENTS),
        Method(
            7089, "GetResultListFiltered", 6213, 6214, FILTERS, _listed("ResultHandle", "ResultList", RESULT),
        ),
    ),
}  # fmt: skip
TYPES: tuple[tuple[int, str, int], ...] = (  # id, name, base in OPC UA itself
    (VISION_SYSTEM, "VisionSystemType", BASE_OBJECT_TYPE),
    (STATE_MACHINE, "VisionStateMachineType", FINITE_STATE_MACHINE_TYPE),
    (AUTOMATIC_MODE, "VisionAutomaticModeStateMachineType", FINITE_STATE_MACHINE_TYPE),
    (RECIPE_MANAGEMENT, "RecipeManagementType", BASE_OBJECT_TYPE),
    (RESULT_MANAGEMENT, "ResultManagementType", BASE_OBJECT_TYPE),
)
STATES = {  # number -> id of the state, id of its StateNumber
    1: (5028, 6226), 2: (5029, 6227), 3: (5030, 6228), 4: (5031, 6229),
    5: (5056, 6259), 6: (5057, 6260), 7: (5058, 6261), 8: (5059, 6262),
}  # fmt: skip
TRANSITION_IDS = {  # number -> id of the transition, id of its TransitionNumber
    120: (5033, 6231), 121: (5032, 6230), 130: (5034, 6232), 150: (5036, 6234), 210: (5038, 6236), 211: (5037, 6235),
    310: (5040, 6238), 311: (5039, 6237), 320: (5042, 6240), 321: (5041, 6239), 410: (5048, 6246), 411: (5047, 6245),
    420: (5050, 6248), 421: (5049, 6247), 430: (5051, 6249), 560: (5061, 6264), 561: (5060, 6263), 650: (5063, 6266),
    651: (5062, 6265), 671: (5064, 6267), 681: (5066, 6269), 760: (5070, 6273), 761: (5068, 6271), 762: (5069, 6272),
    860: (5073, 6276), 861: (5071, 6274), 862: (5072, 6275),
}  # fmt: skip
