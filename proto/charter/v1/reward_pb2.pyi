from charter.v1 import common_pb2 as _common_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScoreRequest(_message.Message):
    __slots__ = ("samples", "reward_models", "run_id")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    REWARD_MODELS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[_common_pb2.Sample]
    reward_models: _containers.RepeatedScalarFieldContainer[str]
    run_id: str
    def __init__(self, samples: _Optional[_Iterable[_Union[_common_pb2.Sample, _Mapping]]] = ..., reward_models: _Optional[_Iterable[str]] = ..., run_id: _Optional[str] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("sample_id", "objective", "reward_model", "score", "spread", "z", "steps")
    SAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    REWARD_MODEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    sample_id: str
    objective: str
    reward_model: str
    score: float
    spread: float
    z: float
    steps: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, sample_id: _Optional[str] = ..., objective: _Optional[str] = ..., reward_model: _Optional[str] = ..., score: _Optional[float] = ..., spread: _Optional[float] = ..., z: _Optional[float] = ..., steps: _Optional[_Iterable[float]] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("scores", "norm_pack")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    NORM_PACK_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedCompositeFieldContainer[Score]
    norm_pack: str
    def __init__(self, scores: _Optional[_Iterable[_Union[Score, _Mapping]]] = ..., norm_pack: _Optional[str] = ...) -> None: ...

class RewardModel(_message.Message):
    __slots__ = ("id", "run_id", "objective", "base_model", "artifact", "constitution_hash", "pairs", "human_pairs", "accuracy", "accuracy_n", "name", "ungated", "auditor", "quality", "data_pairs")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    CONSTITUTION_HASH_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    HUMAN_PAIRS_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_N_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNGATED_FIELD_NUMBER: _ClassVar[int]
    AUDITOR_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    DATA_PAIRS_FIELD_NUMBER: _ClassVar[int]
    id: str
    run_id: str
    objective: str
    base_model: str
    artifact: str
    constitution_hash: str
    pairs: int
    human_pairs: int
    accuracy: float
    accuracy_n: int
    name: str
    ungated: bool
    auditor: bool
    quality: _containers.RepeatedCompositeFieldContainer[RewardQuality]
    data_pairs: int
    def __init__(self, id: _Optional[str] = ..., run_id: _Optional[str] = ..., objective: _Optional[str] = ..., base_model: _Optional[str] = ..., artifact: _Optional[str] = ..., constitution_hash: _Optional[str] = ..., pairs: _Optional[int] = ..., human_pairs: _Optional[int] = ..., accuracy: _Optional[float] = ..., accuracy_n: _Optional[int] = ..., name: _Optional[str] = ..., ungated: bool = ..., auditor: bool = ..., quality: _Optional[_Iterable[_Union[RewardQuality, _Mapping]]] = ..., data_pairs: _Optional[int] = ...) -> None: ...

class RewardQuality(_message.Message):
    __slots__ = ("source", "pairs", "accuracy", "accuracy_low", "accuracy_high", "longer_reply", "brier", "ece", "length_correlation", "ratings", "rating_correlation", "steps", "step_accuracy")
    class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SOURCE_UNSPECIFIED: _ClassVar[RewardQuality.Source]
        SOURCE_ALL: _ClassVar[RewardQuality.Source]
        SOURCE_AI: _ClassVar[RewardQuality.Source]
        SOURCE_HUMAN: _ClassVar[RewardQuality.Source]
        SOURCE_DATA: _ClassVar[RewardQuality.Source]
    SOURCE_UNSPECIFIED: RewardQuality.Source
    SOURCE_ALL: RewardQuality.Source
    SOURCE_AI: RewardQuality.Source
    SOURCE_HUMAN: RewardQuality.Source
    SOURCE_DATA: RewardQuality.Source
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_LOW_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_HIGH_FIELD_NUMBER: _ClassVar[int]
    LONGER_REPLY_FIELD_NUMBER: _ClassVar[int]
    BRIER_FIELD_NUMBER: _ClassVar[int]
    ECE_FIELD_NUMBER: _ClassVar[int]
    LENGTH_CORRELATION_FIELD_NUMBER: _ClassVar[int]
    RATINGS_FIELD_NUMBER: _ClassVar[int]
    RATING_CORRELATION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    STEP_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    source: RewardQuality.Source
    pairs: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    longer_reply: float
    brier: float
    ece: float
    length_correlation: float
    ratings: int
    rating_correlation: float
    steps: int
    step_accuracy: float
    def __init__(self, source: _Optional[_Union[RewardQuality.Source, str]] = ..., pairs: _Optional[int] = ..., accuracy: _Optional[float] = ..., accuracy_low: _Optional[float] = ..., accuracy_high: _Optional[float] = ..., longer_reply: _Optional[float] = ..., brier: _Optional[float] = ..., ece: _Optional[float] = ..., length_correlation: _Optional[float] = ..., ratings: _Optional[int] = ..., rating_correlation: _Optional[float] = ..., steps: _Optional[int] = ..., step_accuracy: _Optional[float] = ...) -> None: ...

class ListRewardModelsRequest(_message.Message):
    __slots__ = ("run_id", "page_size", "page_token", "read_mask")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    page_size: int
    page_token: str
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, run_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class ListRewardModelsResponse(_message.Message):
    __slots__ = ("reward_models", "next_page_token")
    REWARD_MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    reward_models: _containers.RepeatedCompositeFieldContainer[RewardModel]
    next_page_token: str
    def __init__(self, reward_models: _Optional[_Iterable[_Union[RewardModel, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
