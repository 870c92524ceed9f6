import datetime

from charter.v1 import common_pb2 as _common_pb2
from charter.v1 import critique_pb2 as _critique_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Choice(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHOICE_UNSPECIFIED: _ClassVar[Choice]
    CHOICE_A: _ClassVar[Choice]
    CHOICE_B: _ClassVar[Choice]
    CHOICE_TIE: _ClassVar[Choice]
    CHOICE_BOTH_BAD: _ClassVar[Choice]
    CHOICE_SKIP: _ClassVar[Choice]

class LabelerKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LABELER_KIND_UNSPECIFIED: _ClassVar[LabelerKind]
    LABELER_KIND_AI: _ClassVar[LabelerKind]
    LABELER_KIND_HUMAN: _ClassVar[LabelerKind]
CHOICE_UNSPECIFIED: Choice
CHOICE_A: Choice
CHOICE_B: Choice
CHOICE_TIE: Choice
CHOICE_BOTH_BAD: Choice
CHOICE_SKIP: Choice
LABELER_KIND_UNSPECIFIED: LabelerKind
LABELER_KIND_AI: LabelerKind
LABELER_KIND_HUMAN: LabelerKind

class Preference(_message.Message):
    __slots__ = ("id", "comparison_id", "objective", "labeler", "choice", "probability", "abstained", "reason", "gap", "constitution_hash", "run_id", "weight", "uniform", "calibration_id", "ungated", "name", "swapped", "opinions")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    LABELER_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    ABSTAINED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    CONSTITUTION_HASH_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    UNIFORM_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_ID_FIELD_NUMBER: _ClassVar[int]
    UNGATED_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SWAPPED_FIELD_NUMBER: _ClassVar[int]
    OPINIONS_FIELD_NUMBER: _ClassVar[int]
    id: str
    comparison_id: str
    objective: str
    labeler: str
    choice: Choice
    probability: float
    abstained: bool
    reason: str
    gap: float
    constitution_hash: str
    run_id: str
    weight: float
    uniform: bool
    calibration_id: str
    ungated: bool
    name: str
    swapped: bool
    opinions: _containers.RepeatedCompositeFieldContainer[Opinion]
    def __init__(self, id: _Optional[str] = ..., comparison_id: _Optional[str] = ..., objective: _Optional[str] = ..., labeler: _Optional[str] = ..., choice: _Optional[_Union[Choice, str]] = ..., probability: _Optional[float] = ..., abstained: bool = ..., reason: _Optional[str] = ..., gap: _Optional[float] = ..., constitution_hash: _Optional[str] = ..., run_id: _Optional[str] = ..., weight: _Optional[float] = ..., uniform: bool = ..., calibration_id: _Optional[str] = ..., ungated: bool = ..., name: _Optional[str] = ..., swapped: bool = ..., opinions: _Optional[_Iterable[_Union[Opinion, _Mapping]]] = ...) -> None: ...

class Opinion(_message.Message):
    __slots__ = ("judge", "probability", "weight", "reason")
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    judge: str
    probability: float
    weight: float
    reason: str
    def __init__(self, judge: _Optional[str] = ..., probability: _Optional[float] = ..., weight: _Optional[float] = ..., reason: _Optional[str] = ...) -> None: ...

class NextComparisonRequest(_message.Message):
    __slots__ = ("labeler", "objective", "run_id", "uniform", "count", "lease", "since")
    LABELER_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    UNIFORM_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    labeler: str
    objective: str
    run_id: str
    uniform: bool
    count: int
    lease: _duration_pb2.Duration
    since: _timestamp_pb2.Timestamp
    def __init__(self, labeler: _Optional[str] = ..., objective: _Optional[str] = ..., run_id: _Optional[str] = ..., uniform: bool = ..., count: _Optional[int] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ShownComparison(_message.Message):
    __slots__ = ("comparison", "swapped")
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    SWAPPED_FIELD_NUMBER: _ClassVar[int]
    comparison: _common_pb2.Comparison
    swapped: bool
    def __init__(self, comparison: _Optional[_Union[_common_pb2.Comparison, _Mapping]] = ..., swapped: bool = ...) -> None: ...

class NextComparisonResponse(_message.Message):
    __slots__ = ("comparison", "remaining", "shown", "given")
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    comparison: _common_pb2.Comparison
    remaining: int
    shown: _containers.RepeatedCompositeFieldContainer[ShownComparison]
    given: int
    def __init__(self, comparison: _Optional[_Union[_common_pb2.Comparison, _Mapping]] = ..., remaining: _Optional[int] = ..., shown: _Optional[_Iterable[_Union[ShownComparison, _Mapping]]] = ..., given: _Optional[int] = ...) -> None: ...

class SubmitPreferenceRequest(_message.Message):
    __slots__ = ("comparison_id", "comparison", "objective", "labeler", "choice", "reason", "request_id", "validate_only", "swapped")
    COMPARISON_ID_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    LABELER_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    SWAPPED_FIELD_NUMBER: _ClassVar[int]
    comparison_id: str
    comparison: _common_pb2.Comparison
    objective: str
    labeler: str
    choice: Choice
    reason: str
    request_id: str
    validate_only: bool
    swapped: bool
    def __init__(self, comparison_id: _Optional[str] = ..., comparison: _Optional[_Union[_common_pb2.Comparison, _Mapping]] = ..., objective: _Optional[str] = ..., labeler: _Optional[str] = ..., choice: _Optional[_Union[Choice, str]] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., swapped: bool = ...) -> None: ...

class SubmitPreferenceResponse(_message.Message):
    __slots__ = ("preference",)
    PREFERENCE_FIELD_NUMBER: _ClassVar[int]
    preference: Preference
    def __init__(self, preference: _Optional[_Union[Preference, _Mapping]] = ...) -> None: ...

class UndoPreferenceRequest(_message.Message):
    __slots__ = ("labeler", "request_id", "validate_only", "comparison_id", "objective")
    LABELER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    labeler: str
    request_id: str
    validate_only: bool
    comparison_id: str
    objective: str
    def __init__(self, labeler: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., comparison_id: _Optional[str] = ..., objective: _Optional[str] = ...) -> None: ...

class UndoPreferenceResponse(_message.Message):
    __slots__ = ("preference",)
    PREFERENCE_FIELD_NUMBER: _ClassVar[int]
    preference: Preference
    def __init__(self, preference: _Optional[_Union[Preference, _Mapping]] = ...) -> None: ...

class ListPreferencesRequest(_message.Message):
    __slots__ = ("objective", "run_id", "labelers", "page_size", "page_token", "read_mask")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    LABELERS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    objective: str
    run_id: str
    labelers: LabelerKind
    page_size: int
    page_token: str
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, objective: _Optional[str] = ..., run_id: _Optional[str] = ..., labelers: _Optional[_Union[LabelerKind, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class ListPreferencesResponse(_message.Message):
    __slots__ = ("preferences", "next_page_token")
    PREFERENCES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    preferences: _containers.RepeatedCompositeFieldContainer[Preference]
    next_page_token: str
    def __init__(self, preferences: _Optional[_Iterable[_Union[Preference, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetGuidelinesRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class GetGuidelinesResponse(_message.Message):
    __slots__ = ("constitution",)
    CONSTITUTION_FIELD_NUMBER: _ClassVar[int]
    constitution: _critique_pb2.Constitution
    def __init__(self, constitution: _Optional[_Union[_critique_pb2.Constitution, _Mapping]] = ...) -> None: ...

class ExplainQueueRequest(_message.Message):
    __slots__ = ("objective", "run_id", "count")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    objective: str
    run_id: str
    count: int
    def __init__(self, objective: _Optional[str] = ..., run_id: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class QueuedPair(_message.Message):
    __slots__ = ("comparison_id", "run_id", "information", "spread", "abstained", "disagreement", "coverage", "priority", "uniform")
    COMPARISON_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    INFORMATION_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    ABSTAINED_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    UNIFORM_FIELD_NUMBER: _ClassVar[int]
    comparison_id: str
    run_id: str
    information: float
    spread: float
    abstained: bool
    disagreement: float
    coverage: float
    priority: float
    uniform: bool
    def __init__(self, comparison_id: _Optional[str] = ..., run_id: _Optional[str] = ..., information: _Optional[float] = ..., spread: _Optional[float] = ..., abstained: bool = ..., disagreement: _Optional[float] = ..., coverage: _Optional[float] = ..., priority: _Optional[float] = ..., uniform: bool = ...) -> None: ...

class ExplainQueueResponse(_message.Message):
    __slots__ = ("pairs",)
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    pairs: _containers.RepeatedCompositeFieldContainer[QueuedPair]
    def __init__(self, pairs: _Optional[_Iterable[_Union[QueuedPair, _Mapping]]] = ...) -> None: ...
