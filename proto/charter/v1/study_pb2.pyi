import datetime

from charter.v1 import annotation_pb2 as _annotation_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StoppingRule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STOPPING_RULE_UNSPECIFIED: _ClassVar[StoppingRule]
    STOPPING_RULE_SEQUENTIAL: _ClassVar[StoppingRule]
    STOPPING_RULE_FIXED: _ClassVar[StoppingRule]

class StudyState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STUDY_STATE_UNSPECIFIED: _ClassVar[StudyState]
    STUDY_STATE_DRAWING: _ClassVar[StudyState]
    STUDY_STATE_OPEN: _ClassVar[StudyState]
    STUDY_STATE_CLOSED: _ClassVar[StudyState]
    STUDY_STATE_FAILED: _ClassVar[StudyState]

class PreferredPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PREFERRED_POLICY_UNSPECIFIED: _ClassVar[PreferredPolicy]
    PREFERRED_POLICY_FIRST: _ClassVar[PreferredPolicy]
    PREFERRED_POLICY_SECOND: _ClassVar[PreferredPolicy]
    PREFERRED_POLICY_NEITHER: _ClassVar[PreferredPolicy]
STOPPING_RULE_UNSPECIFIED: StoppingRule
STOPPING_RULE_SEQUENTIAL: StoppingRule
STOPPING_RULE_FIXED: StoppingRule
STUDY_STATE_UNSPECIFIED: StudyState
STUDY_STATE_DRAWING: StudyState
STUDY_STATE_OPEN: StudyState
STUDY_STATE_CLOSED: StudyState
STUDY_STATE_FAILED: StudyState
PREFERRED_POLICY_UNSPECIFIED: PreferredPolicy
PREFERRED_POLICY_FIRST: PreferredPolicy
PREFERRED_POLICY_SECOND: PreferredPolicy
PREFERRED_POLICY_NEITHER: PreferredPolicy

class StudyPlan(_message.Message):
    __slots__ = ("policies", "objectives", "pairs", "labels_per_pair", "stopping", "alpha", "temperature", "ratings_per_reply")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVES_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    LABELS_PER_PAIR_FIELD_NUMBER: _ClassVar[int]
    STOPPING_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    RATINGS_PER_REPLY_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedScalarFieldContainer[str]
    objectives: _containers.RepeatedScalarFieldContainer[str]
    pairs: int
    labels_per_pair: int
    stopping: StoppingRule
    alpha: float
    temperature: float
    ratings_per_reply: int
    def __init__(self, policies: _Optional[_Iterable[str]] = ..., objectives: _Optional[_Iterable[str]] = ..., pairs: _Optional[int] = ..., labels_per_pair: _Optional[int] = ..., stopping: _Optional[_Union[StoppingRule, str]] = ..., alpha: _Optional[float] = ..., temperature: _Optional[float] = ..., ratings_per_reply: _Optional[int] = ...) -> None: ...

class StudyQuestion(_message.Message):
    __slots__ = ("objective", "pairs", "done", "closed_because", "close_time")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    CLOSED_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    CLOSE_TIME_FIELD_NUMBER: _ClassVar[int]
    objective: str
    pairs: int
    done: int
    closed_because: str
    close_time: _timestamp_pb2.Timestamp
    def __init__(self, objective: _Optional[str] = ..., pairs: _Optional[int] = ..., done: _Optional[int] = ..., closed_because: _Optional[str] = ..., close_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StudyRatingQuestion(_message.Message):
    __slots__ = ("objective", "replies", "done", "closed_because", "close_time")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    CLOSED_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    CLOSE_TIME_FIELD_NUMBER: _ClassVar[int]
    objective: str
    replies: int
    done: int
    closed_because: str
    close_time: _timestamp_pb2.Timestamp
    def __init__(self, objective: _Optional[str] = ..., replies: _Optional[int] = ..., done: _Optional[int] = ..., closed_because: _Optional[str] = ..., close_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Study(_message.Message):
    __slots__ = ("id", "name", "display_name", "plan", "state", "questions", "prompts", "seed", "constitution_hash", "error", "create_time", "rating_questions")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CONSTITUTION_HASH_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RATING_QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    display_name: str
    plan: StudyPlan
    state: StudyState
    questions: _containers.RepeatedCompositeFieldContainer[StudyQuestion]
    prompts: str
    seed: int
    constitution_hash: str
    error: str
    create_time: _timestamp_pb2.Timestamp
    rating_questions: _containers.RepeatedCompositeFieldContainer[StudyRatingQuestion]
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., display_name: _Optional[str] = ..., plan: _Optional[_Union[StudyPlan, _Mapping]] = ..., state: _Optional[_Union[StudyState, str]] = ..., questions: _Optional[_Iterable[_Union[StudyQuestion, _Mapping]]] = ..., prompts: _Optional[str] = ..., seed: _Optional[int] = ..., constitution_hash: _Optional[str] = ..., error: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rating_questions: _Optional[_Iterable[_Union[StudyRatingQuestion, _Mapping]]] = ...) -> None: ...

class CreateStudyRequest(_message.Message):
    __slots__ = ("plan", "prompts", "seed", "constitution", "display_name", "request_id", "validate_only")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CONSTITUTION_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    plan: StudyPlan
    prompts: str
    seed: int
    constitution: str
    display_name: str
    request_id: str
    validate_only: bool
    def __init__(self, plan: _Optional[_Union[StudyPlan, _Mapping]] = ..., prompts: _Optional[str] = ..., seed: _Optional[int] = ..., constitution: _Optional[str] = ..., display_name: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class CreateStudyResponse(_message.Message):
    __slots__ = ("study",)
    STUDY_FIELD_NUMBER: _ClassVar[int]
    study: Study
    def __init__(self, study: _Optional[_Union[Study, _Mapping]] = ...) -> None: ...

class GetStudyRequest(_message.Message):
    __slots__ = ("study_id",)
    STUDY_ID_FIELD_NUMBER: _ClassVar[int]
    study_id: str
    def __init__(self, study_id: _Optional[str] = ...) -> None: ...

class GetStudyResponse(_message.Message):
    __slots__ = ("study",)
    STUDY_FIELD_NUMBER: _ClassVar[int]
    study: Study
    def __init__(self, study: _Optional[_Union[Study, _Mapping]] = ...) -> None: ...

class ListStudiesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "read_mask")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class ListStudiesResponse(_message.Message):
    __slots__ = ("studies", "next_page_token")
    STUDIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    studies: _containers.RepeatedCompositeFieldContainer[Study]
    next_page_token: str
    def __init__(self, studies: _Optional[_Iterable[_Union[Study, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CloseStudyRequest(_message.Message):
    __slots__ = ("study_id", "validate_only")
    STUDY_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    study_id: str
    validate_only: bool
    def __init__(self, study_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class CloseStudyResponse(_message.Message):
    __slots__ = ("study",)
    STUDY_FIELD_NUMBER: _ClassVar[int]
    study: Study
    def __init__(self, study: _Optional[_Union[Study, _Mapping]] = ...) -> None: ...

class GetStudyResultsRequest(_message.Message):
    __slots__ = ("study_id",)
    STUDY_ID_FIELD_NUMBER: _ClassVar[int]
    study_id: str
    def __init__(self, study_id: _Optional[str] = ...) -> None: ...

class StudyInterval(_message.Message):
    __slots__ = ("value", "low", "high")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    value: float
    low: float
    high: float
    def __init__(self, value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class StudyDuel(_message.Message):
    __slots__ = ("first", "second", "pairs", "wins", "ties", "losses", "both_bad", "win_rate", "error", "preferred")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    WINS_FIELD_NUMBER: _ClassVar[int]
    TIES_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    BOTH_BAD_FIELD_NUMBER: _ClassVar[int]
    WIN_RATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PREFERRED_FIELD_NUMBER: _ClassVar[int]
    first: str
    second: str
    pairs: int
    wins: float
    ties: float
    losses: float
    both_bad: float
    win_rate: StudyInterval
    error: float
    preferred: PreferredPolicy
    def __init__(self, first: _Optional[str] = ..., second: _Optional[str] = ..., pairs: _Optional[int] = ..., wins: _Optional[float] = ..., ties: _Optional[float] = ..., losses: _Optional[float] = ..., both_bad: _Optional[float] = ..., win_rate: _Optional[_Union[StudyInterval, _Mapping]] = ..., error: _Optional[float] = ..., preferred: _Optional[_Union[PreferredPolicy, str]] = ...) -> None: ...

class StudyStrength(_message.Message):
    __slots__ = ("policy", "log_odds")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    LOG_ODDS_FIELD_NUMBER: _ClassVar[int]
    policy: str
    log_odds: StudyInterval
    def __init__(self, policy: _Optional[str] = ..., log_odds: _Optional[_Union[StudyInterval, _Mapping]] = ...) -> None: ...

class StudyResult(_message.Message):
    __slots__ = ("objective", "pairs", "done", "labels", "labelers", "skips", "closed_because", "counted", "duels", "strengths", "length")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LABELERS_FIELD_NUMBER: _ClassVar[int]
    SKIPS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    DUELS_FIELD_NUMBER: _ClassVar[int]
    STRENGTHS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    objective: str
    pairs: int
    done: int
    labels: int
    labelers: int
    skips: int
    closed_because: str
    counted: int
    duels: _containers.RepeatedCompositeFieldContainer[StudyDuel]
    strengths: _containers.RepeatedCompositeFieldContainer[StudyStrength]
    length: StudyInterval
    def __init__(self, objective: _Optional[str] = ..., pairs: _Optional[int] = ..., done: _Optional[int] = ..., labels: _Optional[int] = ..., labelers: _Optional[int] = ..., skips: _Optional[int] = ..., closed_because: _Optional[str] = ..., counted: _Optional[int] = ..., duels: _Optional[_Iterable[_Union[StudyDuel, _Mapping]]] = ..., strengths: _Optional[_Iterable[_Union[StudyStrength, _Mapping]]] = ..., length: _Optional[_Union[StudyInterval, _Mapping]] = ...) -> None: ...

class StudyPolicyRatings(_message.Message):
    __slots__ = ("policy", "replies", "mean", "grades")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    GRADES_FIELD_NUMBER: _ClassVar[int]
    policy: str
    replies: int
    mean: StudyInterval
    grades: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, policy: _Optional[str] = ..., replies: _Optional[int] = ..., mean: _Optional[_Union[StudyInterval, _Mapping]] = ..., grades: _Optional[_Iterable[int]] = ...) -> None: ...

class StudyRatingDifference(_message.Message):
    __slots__ = ("first", "second", "prompts", "difference", "error", "higher")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HIGHER_FIELD_NUMBER: _ClassVar[int]
    first: str
    second: str
    prompts: int
    difference: StudyInterval
    error: float
    higher: PreferredPolicy
    def __init__(self, first: _Optional[str] = ..., second: _Optional[str] = ..., prompts: _Optional[int] = ..., difference: _Optional[_Union[StudyInterval, _Mapping]] = ..., error: _Optional[float] = ..., higher: _Optional[_Union[PreferredPolicy, str]] = ...) -> None: ...

class StudyRatingResult(_message.Message):
    __slots__ = ("objective", "replies", "done", "ratings", "raters", "skips", "closed_because", "policies", "differences", "agreement")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    RATINGS_FIELD_NUMBER: _ClassVar[int]
    RATERS_FIELD_NUMBER: _ClassVar[int]
    SKIPS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    objective: str
    replies: int
    done: int
    ratings: int
    raters: int
    skips: int
    closed_because: str
    policies: _containers.RepeatedCompositeFieldContainer[StudyPolicyRatings]
    differences: _containers.RepeatedCompositeFieldContainer[StudyRatingDifference]
    agreement: _annotation_pb2.Alpha
    def __init__(self, objective: _Optional[str] = ..., replies: _Optional[int] = ..., done: _Optional[int] = ..., ratings: _Optional[int] = ..., raters: _Optional[int] = ..., skips: _Optional[int] = ..., closed_because: _Optional[str] = ..., policies: _Optional[_Iterable[_Union[StudyPolicyRatings, _Mapping]]] = ..., differences: _Optional[_Iterable[_Union[StudyRatingDifference, _Mapping]]] = ..., agreement: _Optional[_Union[_annotation_pb2.Alpha, _Mapping]] = ...) -> None: ...

class GetStudyResultsResponse(_message.Message):
    __slots__ = ("study", "results", "identical", "ratings")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    IDENTICAL_FIELD_NUMBER: _ClassVar[int]
    RATINGS_FIELD_NUMBER: _ClassVar[int]
    study: Study
    results: _containers.RepeatedCompositeFieldContainer[StudyResult]
    identical: int
    ratings: _containers.RepeatedCompositeFieldContainer[StudyRatingResult]
    def __init__(self, study: _Optional[_Union[Study, _Mapping]] = ..., results: _Optional[_Iterable[_Union[StudyResult, _Mapping]]] = ..., identical: _Optional[int] = ..., ratings: _Optional[_Iterable[_Union[StudyRatingResult, _Mapping]]] = ...) -> None: ...
