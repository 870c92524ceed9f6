from charter.v1 import common_pb2 as _common_pb2
from charter.v1 import critique_pb2 as _critique_pb2
from charter.v1 import policy_pb2 as _policy_pb2
from charter.v1 import preference_pb2 as _preference_pb2
from charter.v1 import reward_pb2 as _reward_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SampleTerm(_message.Message):
    __slots__ = ("kind", "name", "detail", "samples", "exact", "low", "high")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[SampleTerm.Kind]
        KIND_RUN: _ClassVar[SampleTerm.Kind]
        KIND_STAGE: _ClassVar[SampleTerm.Kind]
        KIND_POLICY: _ClassVar[SampleTerm.Kind]
        KIND_KL: _ClassVar[SampleTerm.Kind]
        KIND_SCORE: _ClassVar[SampleTerm.Kind]
        KIND_VERDICT: _ClassVar[SampleTerm.Kind]
    KIND_UNSPECIFIED: SampleTerm.Kind
    KIND_RUN: SampleTerm.Kind
    KIND_STAGE: SampleTerm.Kind
    KIND_POLICY: SampleTerm.Kind
    KIND_KL: SampleTerm.Kind
    KIND_SCORE: SampleTerm.Kind
    KIND_VERDICT: SampleTerm.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    kind: SampleTerm.Kind
    name: str
    detail: str
    samples: int
    exact: bool
    low: float
    high: float
    def __init__(self, kind: _Optional[_Union[SampleTerm.Kind, str]] = ..., name: _Optional[str] = ..., detail: _Optional[str] = ..., samples: _Optional[int] = ..., exact: bool = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class ListSampleTermsRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class ListSampleTermsResponse(_message.Message):
    __slots__ = ("terms",)
    TERMS_FIELD_NUMBER: _ClassVar[int]
    terms: _containers.RepeatedCompositeFieldContainer[SampleTerm]
    def __init__(self, terms: _Optional[_Iterable[_Union[SampleTerm, _Mapping]]] = ...) -> None: ...

class FindSamplesRequest(_message.Message):
    __slots__ = ("run_id", "stage", "policy_version", "objective", "min_score", "max_score", "min_kl", "max_kl", "verdict", "principle_id", "text", "page_size", "page_token", "read_mask")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    MAX_SCORE_FIELD_NUMBER: _ClassVar[int]
    MIN_KL_FIELD_NUMBER: _ClassVar[int]
    MAX_KL_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLE_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    stage: str
    policy_version: str
    objective: str
    min_score: float
    max_score: float
    min_kl: float
    max_kl: float
    verdict: _critique_pb2.Verdict
    principle_id: str
    text: str
    page_size: int
    page_token: str
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, run_id: _Optional[str] = ..., stage: _Optional[str] = ..., policy_version: _Optional[str] = ..., objective: _Optional[str] = ..., min_score: _Optional[float] = ..., max_score: _Optional[float] = ..., min_kl: _Optional[float] = ..., max_kl: _Optional[float] = ..., verdict: _Optional[_Union[_critique_pb2.Verdict, str]] = ..., principle_id: _Optional[str] = ..., text: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class SampleVerdict(_message.Message):
    __slots__ = ("principle_id", "verdict")
    PRINCIPLE_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    principle_id: str
    verdict: _critique_pb2.Verdict
    def __init__(self, principle_id: _Optional[str] = ..., verdict: _Optional[_Union[_critique_pb2.Verdict, str]] = ...) -> None: ...

class FoundSample(_message.Message):
    __slots__ = ("sample", "scores", "verdicts")
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    sample: _common_pb2.Sample
    scores: _containers.RepeatedCompositeFieldContainer[_reward_pb2.Score]
    verdicts: _containers.RepeatedCompositeFieldContainer[SampleVerdict]
    def __init__(self, sample: _Optional[_Union[_common_pb2.Sample, _Mapping]] = ..., scores: _Optional[_Iterable[_Union[_reward_pb2.Score, _Mapping]]] = ..., verdicts: _Optional[_Iterable[_Union[SampleVerdict, _Mapping]]] = ...) -> None: ...

class FindSamplesResponse(_message.Message):
    __slots__ = ("samples", "next_page_token", "matches", "exact", "cut")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[FoundSample]
    next_page_token: str
    matches: int
    exact: bool
    cut: bool
    def __init__(self, samples: _Optional[_Iterable[_Union[FoundSample, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., matches: _Optional[int] = ..., exact: bool = ..., cut: bool = ...) -> None: ...

class GetSampleRequest(_message.Message):
    __slots__ = ("sample_id", "run_id")
    SAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    sample_id: str
    run_id: str
    def __init__(self, sample_id: _Optional[str] = ..., run_id: _Optional[str] = ...) -> None: ...

class JudgedComparison(_message.Message):
    __slots__ = ("comparison", "votes", "preferences")
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    PREFERENCES_FIELD_NUMBER: _ClassVar[int]
    comparison: _common_pb2.Comparison
    votes: _containers.RepeatedCompositeFieldContainer[_critique_pb2.Vote]
    preferences: _containers.RepeatedCompositeFieldContainer[_preference_pb2.Preference]
    def __init__(self, comparison: _Optional[_Union[_common_pb2.Comparison, _Mapping]] = ..., votes: _Optional[_Iterable[_Union[_critique_pb2.Vote, _Mapping]]] = ..., preferences: _Optional[_Iterable[_Union[_preference_pb2.Preference, _Mapping]]] = ...) -> None: ...

class Lineage(_message.Message):
    __slots__ = ("run_ids", "policy_versions", "reward_models", "norm_pack", "constitution_hash", "datasets")
    RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    REWARD_MODELS_FIELD_NUMBER: _ClassVar[int]
    NORM_PACK_FIELD_NUMBER: _ClassVar[int]
    CONSTITUTION_HASH_FIELD_NUMBER: _ClassVar[int]
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    run_ids: _containers.RepeatedScalarFieldContainer[str]
    policy_versions: _containers.RepeatedCompositeFieldContainer[_policy_pb2.PolicyVersion]
    reward_models: _containers.RepeatedCompositeFieldContainer[_reward_pb2.RewardModel]
    norm_pack: str
    constitution_hash: str
    datasets: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_ids: _Optional[_Iterable[str]] = ..., policy_versions: _Optional[_Iterable[_Union[_policy_pb2.PolicyVersion, _Mapping]]] = ..., reward_models: _Optional[_Iterable[_Union[_reward_pb2.RewardModel, _Mapping]]] = ..., norm_pack: _Optional[str] = ..., constitution_hash: _Optional[str] = ..., datasets: _Optional[_Iterable[str]] = ...) -> None: ...

class GetSampleResponse(_message.Message):
    __slots__ = ("sample", "steps", "comparisons", "scores", "gold", "lineage")
    class GoldEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    GOLD_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    sample: _common_pb2.Sample
    steps: _containers.RepeatedCompositeFieldContainer[_critique_pb2.RevisionStep]
    comparisons: _containers.RepeatedCompositeFieldContainer[JudgedComparison]
    scores: _containers.RepeatedCompositeFieldContainer[_reward_pb2.Score]
    gold: _containers.ScalarMap[str, float]
    lineage: Lineage
    def __init__(self, sample: _Optional[_Union[_common_pb2.Sample, _Mapping]] = ..., steps: _Optional[_Iterable[_Union[_critique_pb2.RevisionStep, _Mapping]]] = ..., comparisons: _Optional[_Iterable[_Union[JudgedComparison, _Mapping]]] = ..., scores: _Optional[_Iterable[_Union[_reward_pb2.Score, _Mapping]]] = ..., gold: _Optional[_Mapping[str, float]] = ..., lineage: _Optional[_Union[Lineage, _Mapping]] = ...) -> None: ...
