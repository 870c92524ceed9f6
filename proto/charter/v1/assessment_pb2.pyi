import datetime

from charter.v1 import common_pb2 as _common_pb2
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

class AssessmentForm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ASSESSMENT_FORM_UNSPECIFIED: _ClassVar[AssessmentForm]
    ASSESSMENT_FORM_RATING: _ClassVar[AssessmentForm]
    ASSESSMENT_FORM_RANKING: _ClassVar[AssessmentForm]
    ASSESSMENT_FORM_SPANS: _ClassVar[AssessmentForm]
ASSESSMENT_FORM_UNSPECIFIED: AssessmentForm
ASSESSMENT_FORM_RATING: AssessmentForm
ASSESSMENT_FORM_RANKING: AssessmentForm
ASSESSMENT_FORM_SPANS: AssessmentForm

class Ranks(_message.Message):
    __slots__ = ("ranks",)
    RANKS_FIELD_NUMBER: _ClassVar[int]
    ranks: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ranks: _Optional[_Iterable[int]] = ...) -> None: ...

class FaultSpan(_message.Message):
    __slots__ = ("start", "end", "principle_id", "text", "principle_hash")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLE_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLE_HASH_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    principle_id: str
    text: str
    principle_hash: str
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ..., principle_id: _Optional[str] = ..., text: _Optional[str] = ..., principle_hash: _Optional[str] = ...) -> None: ...

class FaultSpans(_message.Message):
    __slots__ = ("spans",)
    SPANS_FIELD_NUMBER: _ClassVar[int]
    spans: _containers.RepeatedCompositeFieldContainer[FaultSpan]
    def __init__(self, spans: _Optional[_Iterable[_Union[FaultSpan, _Mapping]]] = ...) -> None: ...

class Assessment(_message.Message):
    __slots__ = ("id", "form", "item_id", "sample_ids", "objective", "labeler", "rating", "ranks", "faults", "all_bad", "skip", "reason", "constitution_hash", "run_id", "create_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_IDS_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    LABELER_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    ALL_BAD_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CONSTITUTION_HASH_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    form: AssessmentForm
    item_id: str
    sample_ids: _containers.RepeatedScalarFieldContainer[str]
    objective: str
    labeler: str
    rating: int
    ranks: Ranks
    faults: FaultSpans
    all_bad: bool
    skip: bool
    reason: str
    constitution_hash: str
    run_id: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., form: _Optional[_Union[AssessmentForm, str]] = ..., item_id: _Optional[str] = ..., sample_ids: _Optional[_Iterable[str]] = ..., objective: _Optional[str] = ..., labeler: _Optional[str] = ..., rating: _Optional[int] = ..., ranks: _Optional[_Union[Ranks, _Mapping]] = ..., faults: _Optional[_Union[FaultSpans, _Mapping]] = ..., all_bad: bool = ..., skip: bool = ..., reason: _Optional[str] = ..., constitution_hash: _Optional[str] = ..., run_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class NextAssessmentRequest(_message.Message):
    __slots__ = ("labeler", "objective", "form", "run_id", "count", "lease")
    LABELER_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    labeler: str
    objective: str
    form: AssessmentForm
    run_id: str
    count: int
    lease: _duration_pb2.Duration
    def __init__(self, labeler: _Optional[str] = ..., objective: _Optional[str] = ..., form: _Optional[_Union[AssessmentForm, str]] = ..., run_id: _Optional[str] = ..., count: _Optional[int] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AssessmentItem(_message.Message):
    __slots__ = ("id", "samples")
    ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    id: str
    samples: _containers.RepeatedCompositeFieldContainer[_common_pb2.Sample]
    def __init__(self, id: _Optional[str] = ..., samples: _Optional[_Iterable[_Union[_common_pb2.Sample, _Mapping]]] = ...) -> None: ...

class NextAssessmentResponse(_message.Message):
    __slots__ = ("items", "remaining")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[AssessmentItem]
    remaining: int
    def __init__(self, items: _Optional[_Iterable[_Union[AssessmentItem, _Mapping]]] = ..., remaining: _Optional[int] = ...) -> None: ...

class SubmitAssessmentRequest(_message.Message):
    __slots__ = ("form", "sample_ids", "samples", "objective", "labeler", "rating", "ranks", "faults", "all_bad", "skip", "reason", "request_id", "validate_only", "run_id")
    FORM_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_IDS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    LABELER_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    ALL_BAD_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    form: AssessmentForm
    sample_ids: _containers.RepeatedScalarFieldContainer[str]
    samples: _containers.RepeatedCompositeFieldContainer[_common_pb2.Sample]
    objective: str
    labeler: str
    rating: int
    ranks: Ranks
    faults: FaultSpans
    all_bad: bool
    skip: bool
    reason: str
    request_id: str
    validate_only: bool
    run_id: str
    def __init__(self, form: _Optional[_Union[AssessmentForm, str]] = ..., sample_ids: _Optional[_Iterable[str]] = ..., samples: _Optional[_Iterable[_Union[_common_pb2.Sample, _Mapping]]] = ..., objective: _Optional[str] = ..., labeler: _Optional[str] = ..., rating: _Optional[int] = ..., ranks: _Optional[_Union[Ranks, _Mapping]] = ..., faults: _Optional[_Union[FaultSpans, _Mapping]] = ..., all_bad: bool = ..., skip: bool = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., run_id: _Optional[str] = ...) -> None: ...

class SubmitAssessmentResponse(_message.Message):
    __slots__ = ("assessment",)
    ASSESSMENT_FIELD_NUMBER: _ClassVar[int]
    assessment: Assessment
    def __init__(self, assessment: _Optional[_Union[Assessment, _Mapping]] = ...) -> None: ...

class UndoAssessmentRequest(_message.Message):
    __slots__ = ("labeler", "request_id", "validate_only", "form", "item_id", "objective")
    LABELER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    labeler: str
    request_id: str
    validate_only: bool
    form: AssessmentForm
    item_id: str
    objective: str
    def __init__(self, labeler: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., form: _Optional[_Union[AssessmentForm, str]] = ..., item_id: _Optional[str] = ..., objective: _Optional[str] = ...) -> None: ...

class UndoAssessmentResponse(_message.Message):
    __slots__ = ("assessment",)
    ASSESSMENT_FIELD_NUMBER: _ClassVar[int]
    assessment: Assessment
    def __init__(self, assessment: _Optional[_Union[Assessment, _Mapping]] = ...) -> None: ...

class ListAssessmentsRequest(_message.Message):
    __slots__ = ("form", "objective", "run_id", "page_size", "page_token", "read_mask", "with_samples")
    FORM_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    WITH_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    form: AssessmentForm
    objective: str
    run_id: str
    page_size: int
    page_token: str
    read_mask: _field_mask_pb2.FieldMask
    with_samples: bool
    def __init__(self, form: _Optional[_Union[AssessmentForm, str]] = ..., objective: _Optional[str] = ..., run_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., with_samples: bool = ...) -> None: ...

class ListAssessmentsResponse(_message.Message):
    __slots__ = ("assessments", "next_page_token", "samples")
    ASSESSMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    assessments: _containers.RepeatedCompositeFieldContainer[Assessment]
    next_page_token: str
    samples: _containers.RepeatedCompositeFieldContainer[_common_pb2.Sample]
    def __init__(self, assessments: _Optional[_Iterable[_Union[Assessment, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., samples: _Optional[_Iterable[_Union[_common_pb2.Sample, _Mapping]]] = ...) -> None: ...

class GetProgressRequest(_message.Message):
    __slots__ = ("labeler", "since")
    LABELER_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    labeler: str
    since: _timestamp_pb2.Timestamp
    def __init__(self, labeler: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetProgressResponse(_message.Message):
    __slots__ = ("pairs", "ratings", "rankings", "spans")
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    RATINGS_FIELD_NUMBER: _ClassVar[int]
    RANKINGS_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    pairs: int
    ratings: int
    rankings: int
    spans: int
    def __init__(self, pairs: _Optional[int] = ..., ratings: _Optional[int] = ..., rankings: _Optional[int] = ..., spans: _Optional[int] = ...) -> None: ...
