import datetime

from charter.v1 import common_pb2 as _common_pb2
from charter.v1 import preference_pb2 as _preference_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Standing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STANDING_UNSPECIFIED: _ClassVar[Standing]
    STANDING_BY_RULE: _ClassVar[Standing]
    STANDING_ADMITTED: _ClassVar[Standing]
    STANDING_PAUSED: _ClassVar[Standing]

class DisagreementKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISAGREEMENT_KIND_UNSPECIFIED: _ClassVar[DisagreementKind]
    DISAGREEMENT_KIND_PEOPLE: _ClassVar[DisagreementKind]
    DISAGREEMENT_KIND_JUDGE: _ClassVar[DisagreementKind]
    DISAGREEMENT_KIND_GOLD: _ClassVar[DisagreementKind]

class AnnotatorFlag(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANNOTATOR_FLAG_UNSPECIFIED: _ClassVar[AnnotatorFlag]
    ANNOTATOR_FLAG_CARELESS: _ClassVar[AnnotatorFlag]
    ANNOTATOR_FLAG_RANDOM: _ClassVar[AnnotatorFlag]
    ANNOTATOR_FLAG_CONTRARY: _ClassVar[AnnotatorFlag]
    ANNOTATOR_FLAG_LEFT: _ClassVar[AnnotatorFlag]
    ANNOTATOR_FLAG_RIGHT: _ClassVar[AnnotatorFlag]
STANDING_UNSPECIFIED: Standing
STANDING_BY_RULE: Standing
STANDING_ADMITTED: Standing
STANDING_PAUSED: Standing
DISAGREEMENT_KIND_UNSPECIFIED: DisagreementKind
DISAGREEMENT_KIND_PEOPLE: DisagreementKind
DISAGREEMENT_KIND_JUDGE: DisagreementKind
DISAGREEMENT_KIND_GOLD: DisagreementKind
ANNOTATOR_FLAG_UNSPECIFIED: AnnotatorFlag
ANNOTATOR_FLAG_CARELESS: AnnotatorFlag
ANNOTATOR_FLAG_RANDOM: AnnotatorFlag
ANNOTATOR_FLAG_CONTRARY: AnnotatorFlag
ANNOTATOR_FLAG_LEFT: AnnotatorFlag
ANNOTATOR_FLAG_RIGHT: AnnotatorFlag

class MeasuredShare(_message.Message):
    __slots__ = ("value", "low", "high", "n")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    value: float
    low: float
    high: float
    n: int
    def __init__(self, value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., n: _Optional[int] = ...) -> None: ...

class Alpha(_message.Message):
    __slots__ = ("value", "low", "high", "items", "answers", "undefined")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    UNDEFINED_FIELD_NUMBER: _ClassVar[int]
    value: float
    low: float
    high: float
    items: int
    answers: int
    undefined: str
    def __init__(self, value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., items: _Optional[int] = ..., answers: _Optional[int] = ..., undefined: _Optional[str] = ...) -> None: ...

class AlphaWindow(_message.Message):
    __slots__ = ("begin_time", "end_time", "alpha")
    BEGIN_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    begin_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    alpha: Alpha
    def __init__(self, begin_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., alpha: _Optional[_Union[Alpha, _Mapping]] = ...) -> None: ...

class AnnotatorQuality(_message.Message):
    __slots__ = ("labeler", "standing", "answers", "skips", "skill", "gold", "repeats", "left", "seconds", "flag", "flagged_after")
    LABELER_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    SKIPS_FIELD_NUMBER: _ClassVar[int]
    SKILL_FIELD_NUMBER: _ClassVar[int]
    GOLD_FIELD_NUMBER: _ClassVar[int]
    REPEATS_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    FLAG_FIELD_NUMBER: _ClassVar[int]
    FLAGGED_AFTER_FIELD_NUMBER: _ClassVar[int]
    labeler: str
    standing: Standing
    answers: int
    skips: int
    skill: float
    gold: MeasuredShare
    repeats: MeasuredShare
    left: MeasuredShare
    seconds: float
    flag: AnnotatorFlag
    flagged_after: int
    def __init__(self, labeler: _Optional[str] = ..., standing: _Optional[_Union[Standing, str]] = ..., answers: _Optional[int] = ..., skips: _Optional[int] = ..., skill: _Optional[float] = ..., gold: _Optional[_Union[MeasuredShare, _Mapping]] = ..., repeats: _Optional[_Union[MeasuredShare, _Mapping]] = ..., left: _Optional[_Union[MeasuredShare, _Mapping]] = ..., seconds: _Optional[float] = ..., flag: _Optional[_Union[AnnotatorFlag, str]] = ..., flagged_after: _Optional[int] = ...) -> None: ...

class JudgeAgreement(_message.Message):
    __slots__ = ("judge", "agreement", "all_pairs", "abstained")
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    ALL_PAIRS_FIELD_NUMBER: _ClassVar[int]
    ABSTAINED_FIELD_NUMBER: _ClassVar[int]
    judge: str
    agreement: MeasuredShare
    all_pairs: MeasuredShare
    abstained: int
    def __init__(self, judge: _Optional[str] = ..., agreement: _Optional[_Union[MeasuredShare, _Mapping]] = ..., all_pairs: _Optional[_Union[MeasuredShare, _Mapping]] = ..., abstained: _Optional[int] = ...) -> None: ...

class ObjectiveQuality(_message.Message):
    __slots__ = ("objective", "items", "answers", "ordinal", "nominal", "trend", "annotators", "judges", "gold")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    NOMINAL_FIELD_NUMBER: _ClassVar[int]
    TREND_FIELD_NUMBER: _ClassVar[int]
    ANNOTATORS_FIELD_NUMBER: _ClassVar[int]
    JUDGES_FIELD_NUMBER: _ClassVar[int]
    GOLD_FIELD_NUMBER: _ClassVar[int]
    objective: str
    items: int
    answers: int
    ordinal: Alpha
    nominal: Alpha
    trend: _containers.RepeatedCompositeFieldContainer[AlphaWindow]
    annotators: _containers.RepeatedCompositeFieldContainer[AnnotatorQuality]
    judges: _containers.RepeatedCompositeFieldContainer[JudgeAgreement]
    gold: int
    def __init__(self, objective: _Optional[str] = ..., items: _Optional[int] = ..., answers: _Optional[int] = ..., ordinal: _Optional[_Union[Alpha, _Mapping]] = ..., nominal: _Optional[_Union[Alpha, _Mapping]] = ..., trend: _Optional[_Iterable[_Union[AlphaWindow, _Mapping]]] = ..., annotators: _Optional[_Iterable[_Union[AnnotatorQuality, _Mapping]]] = ..., judges: _Optional[_Iterable[_Union[JudgeAgreement, _Mapping]]] = ..., gold: _Optional[int] = ...) -> None: ...

class GetQualityRequest(_message.Message):
    __slots__ = ("objective", "run_id")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    objective: str
    run_id: str
    def __init__(self, objective: _Optional[str] = ..., run_id: _Optional[str] = ...) -> None: ...

class GetQualityResponse(_message.Message):
    __slots__ = ("objectives",)
    OBJECTIVES_FIELD_NUMBER: _ClassVar[int]
    objectives: _containers.RepeatedCompositeFieldContainer[ObjectiveQuality]
    def __init__(self, objectives: _Optional[_Iterable[_Union[ObjectiveQuality, _Mapping]]] = ...) -> None: ...

class GetAnnotatorRequest(_message.Message):
    __slots__ = ("labeler", "run_id")
    LABELER_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    labeler: str
    run_id: str
    def __init__(self, labeler: _Optional[str] = ..., run_id: _Optional[str] = ...) -> None: ...

class CalibrationProgress(_message.Message):
    __slots__ = ("objective", "admitted", "answered", "needed")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    objective: str
    admitted: bool
    answered: int
    needed: int
    def __init__(self, objective: _Optional[str] = ..., admitted: bool = ..., answered: _Optional[int] = ..., needed: _Optional[int] = ...) -> None: ...

class GetAnnotatorResponse(_message.Message):
    __slots__ = ("labeler", "standing", "calibrations")
    LABELER_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    CALIBRATIONS_FIELD_NUMBER: _ClassVar[int]
    labeler: str
    standing: Standing
    calibrations: _containers.RepeatedCompositeFieldContainer[CalibrationProgress]
    def __init__(self, labeler: _Optional[str] = ..., standing: _Optional[_Union[Standing, str]] = ..., calibrations: _Optional[_Iterable[_Union[CalibrationProgress, _Mapping]]] = ...) -> None: ...

class SetAnnotatorRequest(_message.Message):
    __slots__ = ("labeler", "standing", "reason", "changed_by")
    LABELER_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHANGED_BY_FIELD_NUMBER: _ClassVar[int]
    labeler: str
    standing: Standing
    reason: str
    changed_by: str
    def __init__(self, labeler: _Optional[str] = ..., standing: _Optional[_Union[Standing, str]] = ..., reason: _Optional[str] = ..., changed_by: _Optional[str] = ...) -> None: ...

class SetAnnotatorResponse(_message.Message):
    __slots__ = ("labeler", "standing", "create_time")
    LABELER_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    labeler: str
    standing: Standing
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, labeler: _Optional[str] = ..., standing: _Optional[_Union[Standing, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListDisagreementsRequest(_message.Message):
    __slots__ = ("objective", "run_id", "kind", "count")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    objective: str
    run_id: str
    kind: DisagreementKind
    count: int
    def __init__(self, objective: _Optional[str] = ..., run_id: _Optional[str] = ..., kind: _Optional[_Union[DisagreementKind, str]] = ..., count: _Optional[int] = ...) -> None: ...

class Disagreement(_message.Message):
    __slots__ = ("comparison", "kind", "probability", "answers", "judges", "adjudication")
    class JudgesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    JUDGES_FIELD_NUMBER: _ClassVar[int]
    ADJUDICATION_FIELD_NUMBER: _ClassVar[int]
    comparison: _common_pb2.Comparison
    kind: DisagreementKind
    probability: float
    answers: _containers.RepeatedCompositeFieldContainer[HumanAnswer]
    judges: _containers.ScalarMap[str, float]
    adjudication: Adjudication
    def __init__(self, comparison: _Optional[_Union[_common_pb2.Comparison, _Mapping]] = ..., kind: _Optional[_Union[DisagreementKind, str]] = ..., probability: _Optional[float] = ..., answers: _Optional[_Iterable[_Union[HumanAnswer, _Mapping]]] = ..., judges: _Optional[_Mapping[str, float]] = ..., adjudication: _Optional[_Union[Adjudication, _Mapping]] = ...) -> None: ...

class ListDisagreementsResponse(_message.Message):
    __slots__ = ("disagreements", "total")
    DISAGREEMENTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    disagreements: _containers.RepeatedCompositeFieldContainer[Disagreement]
    total: int
    def __init__(self, disagreements: _Optional[_Iterable[_Union[Disagreement, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class Adjudication(_message.Message):
    __slots__ = ("comparison_id", "objective", "choice", "reason", "adjudicated_by", "create_time")
    COMPARISON_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ADJUDICATED_BY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    comparison_id: str
    objective: str
    choice: _preference_pb2.Choice
    reason: str
    adjudicated_by: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, comparison_id: _Optional[str] = ..., objective: _Optional[str] = ..., choice: _Optional[_Union[_preference_pb2.Choice, str]] = ..., reason: _Optional[str] = ..., adjudicated_by: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AdjudicateRequest(_message.Message):
    __slots__ = ("comparison_id", "objective", "choice", "reason", "adjudicated_by", "request_id", "validate_only")
    COMPARISON_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ADJUDICATED_BY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    comparison_id: str
    objective: str
    choice: _preference_pb2.Choice
    reason: str
    adjudicated_by: str
    request_id: str
    validate_only: bool
    def __init__(self, comparison_id: _Optional[str] = ..., objective: _Optional[str] = ..., choice: _Optional[_Union[_preference_pb2.Choice, str]] = ..., reason: _Optional[str] = ..., adjudicated_by: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class AdjudicateResponse(_message.Message):
    __slots__ = ("adjudication",)
    ADJUDICATION_FIELD_NUMBER: _ClassVar[int]
    adjudication: Adjudication
    def __init__(self, adjudication: _Optional[_Union[Adjudication, _Mapping]] = ...) -> None: ...

class WithdrawAdjudicationRequest(_message.Message):
    __slots__ = ("comparison_id", "objective", "withdrawn_by")
    COMPARISON_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_BY_FIELD_NUMBER: _ClassVar[int]
    comparison_id: str
    objective: str
    withdrawn_by: str
    def __init__(self, comparison_id: _Optional[str] = ..., objective: _Optional[str] = ..., withdrawn_by: _Optional[str] = ...) -> None: ...

class WithdrawAdjudicationResponse(_message.Message):
    __slots__ = ("adjudication",)
    ADJUDICATION_FIELD_NUMBER: _ClassVar[int]
    adjudication: Adjudication
    def __init__(self, adjudication: _Optional[_Union[Adjudication, _Mapping]] = ...) -> None: ...

class HumanAnswer(_message.Message):
    __slots__ = ("comparison_id", "objective", "labeler", "choice", "reason", "run_id", "swapped", "repeated", "uniform", "create_time", "weight", "prompt_id")
    COMPARISON_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    LABELER_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SWAPPED_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    UNIFORM_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_ID_FIELD_NUMBER: _ClassVar[int]
    comparison_id: str
    objective: str
    labeler: str
    choice: _preference_pb2.Choice
    reason: str
    run_id: str
    swapped: bool
    repeated: bool
    uniform: bool
    create_time: _timestamp_pb2.Timestamp
    weight: float
    prompt_id: str
    def __init__(self, comparison_id: _Optional[str] = ..., objective: _Optional[str] = ..., labeler: _Optional[str] = ..., choice: _Optional[_Union[_preference_pb2.Choice, str]] = ..., reason: _Optional[str] = ..., run_id: _Optional[str] = ..., swapped: bool = ..., repeated: bool = ..., uniform: bool = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., weight: _Optional[float] = ..., prompt_id: _Optional[str] = ...) -> None: ...

class ListAnswersRequest(_message.Message):
    __slots__ = ("objective", "run_id", "labeler", "page_size", "page_token", "read_mask")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    LABELER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    objective: str
    run_id: str
    labeler: str
    page_size: int
    page_token: str
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, objective: _Optional[str] = ..., run_id: _Optional[str] = ..., labeler: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class ListedAnswer(_message.Message):
    __slots__ = ("answer", "comparison", "adjudication")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    ADJUDICATION_FIELD_NUMBER: _ClassVar[int]
    answer: HumanAnswer
    comparison: _common_pb2.Comparison
    adjudication: Adjudication
    def __init__(self, answer: _Optional[_Union[HumanAnswer, _Mapping]] = ..., comparison: _Optional[_Union[_common_pb2.Comparison, _Mapping]] = ..., adjudication: _Optional[_Union[Adjudication, _Mapping]] = ...) -> None: ...

class ListAnswersResponse(_message.Message):
    __slots__ = ("answers", "next_page_token")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[ListedAnswer]
    next_page_token: str
    def __init__(self, answers: _Optional[_Iterable[_Union[ListedAnswer, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
