from charter.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_COMPLIES: _ClassVar[Verdict]
    VERDICT_BORDERLINE: _ClassVar[Verdict]
    VERDICT_VIOLATES: _ClassVar[Verdict]

class ConstitutionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSTITUTION_STATE_UNSPECIFIED: _ClassVar[ConstitutionState]
    CONSTITUTION_STATE_VALID: _ClassVar[ConstitutionState]
    CONSTITUTION_STATE_INVALID: _ClassVar[ConstitutionState]
VERDICT_UNSPECIFIED: Verdict
VERDICT_COMPLIES: Verdict
VERDICT_BORDERLINE: Verdict
VERDICT_VIOLATES: Verdict
CONSTITUTION_STATE_UNSPECIFIED: ConstitutionState
CONSTITUTION_STATE_VALID: ConstitutionState
CONSTITUTION_STATE_INVALID: ConstitutionState

class PrincipleRef(_message.Message):
    __slots__ = ("constitution", "principle_id")
    CONSTITUTION_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLE_ID_FIELD_NUMBER: _ClassVar[int]
    constitution: str
    principle_id: str
    def __init__(self, constitution: _Optional[str] = ..., principle_id: _Optional[str] = ...) -> None: ...

class Critique(_message.Message):
    __slots__ = ("sample_id", "principle_id", "principle_hash", "constitution_hash", "template_hash", "critic", "verdict", "text", "spans", "reason")
    SAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLE_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLE_HASH_FIELD_NUMBER: _ClassVar[int]
    CONSTITUTION_HASH_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_HASH_FIELD_NUMBER: _ClassVar[int]
    CRITIC_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    sample_id: str
    principle_id: str
    principle_hash: str
    constitution_hash: str
    template_hash: str
    critic: str
    verdict: Verdict
    text: str
    spans: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    def __init__(self, sample_id: _Optional[str] = ..., principle_id: _Optional[str] = ..., principle_hash: _Optional[str] = ..., constitution_hash: _Optional[str] = ..., template_hash: _Optional[str] = ..., critic: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., text: _Optional[str] = ..., spans: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ...) -> None: ...

class CritiqueRequest(_message.Message):
    __slots__ = ("samples", "principle")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLE_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[_common_pb2.Sample]
    principle: PrincipleRef
    def __init__(self, samples: _Optional[_Iterable[_Union[_common_pb2.Sample, _Mapping]]] = ..., principle: _Optional[_Union[PrincipleRef, _Mapping]] = ...) -> None: ...

class CritiqueResponse(_message.Message):
    __slots__ = ("critiques", "usage")
    CRITIQUES_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    critiques: _containers.RepeatedCompositeFieldContainer[Critique]
    usage: Usage
    def __init__(self, critiques: _Optional[_Iterable[_Union[Critique, _Mapping]]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class ReviseRequest(_message.Message):
    __slots__ = ("samples", "critiques", "principle")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    CRITIQUES_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLE_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[_common_pb2.Sample]
    critiques: _containers.RepeatedCompositeFieldContainer[Critique]
    principle: PrincipleRef
    def __init__(self, samples: _Optional[_Iterable[_Union[_common_pb2.Sample, _Mapping]]] = ..., critiques: _Optional[_Iterable[_Union[Critique, _Mapping]]] = ..., principle: _Optional[_Union[PrincipleRef, _Mapping]] = ...) -> None: ...

class ReviseResponse(_message.Message):
    __slots__ = ("revisions", "critiques", "usage")
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    CRITIQUES_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    revisions: _containers.RepeatedScalarFieldContainer[str]
    critiques: _containers.RepeatedCompositeFieldContainer[Critique]
    usage: Usage
    def __init__(self, revisions: _Optional[_Iterable[str]] = ..., critiques: _Optional[_Iterable[_Union[Critique, _Mapping]]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class ReviseStreamRequest(_message.Message):
    __slots__ = ("samples", "constitution", "principle_ids", "rounds", "seed", "verify")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    CONSTITUTION_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLE_IDS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[_common_pb2.Sample]
    constitution: str
    principle_ids: _containers.RepeatedScalarFieldContainer[str]
    rounds: int
    seed: int
    verify: bool
    def __init__(self, samples: _Optional[_Iterable[_Union[_common_pb2.Sample, _Mapping]]] = ..., constitution: _Optional[str] = ..., principle_ids: _Optional[_Iterable[str]] = ..., rounds: _Optional[int] = ..., seed: _Optional[int] = ..., verify: bool = ...) -> None: ...

class RevisionStep(_message.Message):
    __slots__ = ("sample_id", "round", "critique", "before", "after", "accepted", "reason")
    SAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    CRITIQUE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    sample_id: str
    round: int
    critique: Critique
    before: str
    after: str
    accepted: bool
    reason: str
    def __init__(self, sample_id: _Optional[str] = ..., round: _Optional[int] = ..., critique: _Optional[_Union[Critique, _Mapping]] = ..., before: _Optional[str] = ..., after: _Optional[str] = ..., accepted: bool = ..., reason: _Optional[str] = ...) -> None: ...

class ReviseStreamResponse(_message.Message):
    __slots__ = ("critique", "step", "end")
    CRITIQUE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    critique: Critique
    step: RevisionStep
    end: ReviseStreamEnd
    def __init__(self, critique: _Optional[_Union[Critique, _Mapping]] = ..., step: _Optional[_Union[RevisionStep, _Mapping]] = ..., end: _Optional[_Union[ReviseStreamEnd, _Mapping]] = ...) -> None: ...

class ReviseStreamEnd(_message.Message):
    __slots__ = ("responses", "counts", "usage")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedScalarFieldContainer[str]
    counts: _containers.ScalarMap[str, int]
    usage: Usage
    def __init__(self, responses: _Optional[_Iterable[str]] = ..., counts: _Optional[_Mapping[str, int]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class Vote(_message.Message):
    __slots__ = ("id", "comparison_id", "principle_id", "principle_hash", "template_hash", "constitution_hash", "judge", "swapped", "logprob_a", "logprob_b", "label_mass", "run_id", "protocol", "text", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLE_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLE_HASH_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_HASH_FIELD_NUMBER: _ClassVar[int]
    CONSTITUTION_HASH_FIELD_NUMBER: _ClassVar[int]
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    SWAPPED_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_A_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_B_FIELD_NUMBER: _ClassVar[int]
    LABEL_MASS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    comparison_id: str
    principle_id: str
    principle_hash: str
    template_hash: str
    constitution_hash: str
    judge: str
    swapped: bool
    logprob_a: float
    logprob_b: float
    label_mass: float
    run_id: str
    protocol: str
    text: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., comparison_id: _Optional[str] = ..., principle_id: _Optional[str] = ..., principle_hash: _Optional[str] = ..., template_hash: _Optional[str] = ..., constitution_hash: _Optional[str] = ..., judge: _Optional[str] = ..., swapped: bool = ..., logprob_a: _Optional[float] = ..., logprob_b: _Optional[float] = ..., label_mass: _Optional[float] = ..., run_id: _Optional[str] = ..., protocol: _Optional[str] = ..., text: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("requests", "retries", "prompt_tokens", "completion_tokens", "unmetered", "cost")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    UNMETERED_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    requests: int
    retries: int
    prompt_tokens: int
    completion_tokens: int
    unmetered: int
    cost: float
    def __init__(self, requests: _Optional[int] = ..., retries: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., unmetered: _Optional[int] = ..., cost: _Optional[float] = ...) -> None: ...

class Judgement(_message.Message):
    __slots__ = ("comparison_id", "probability", "gap")
    COMPARISON_ID_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    comparison_id: str
    probability: float
    gap: float
    def __init__(self, comparison_id: _Optional[str] = ..., probability: _Optional[float] = ..., gap: _Optional[float] = ...) -> None: ...

class PanelJudge(_message.Message):
    __slots__ = ("name", "judge", "protocol", "template_hash", "weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_HASH_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    judge: str
    protocol: str
    template_hash: str
    weight: float
    def __init__(self, name: _Optional[str] = ..., judge: _Optional[str] = ..., protocol: _Optional[str] = ..., template_hash: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class PanelVotes(_message.Message):
    __slots__ = ("judge", "votes", "usage")
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    judge: PanelJudge
    votes: _containers.RepeatedCompositeFieldContainer[Vote]
    usage: Usage
    def __init__(self, judge: _Optional[_Union[PanelJudge, _Mapping]] = ..., votes: _Optional[_Iterable[_Union[Vote, _Mapping]]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class CompareRequest(_message.Message):
    __slots__ = ("comparisons", "principles", "judge")
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLES_FIELD_NUMBER: _ClassVar[int]
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    comparisons: _containers.RepeatedCompositeFieldContainer[_common_pb2.Comparison]
    principles: _containers.RepeatedCompositeFieldContainer[PrincipleRef]
    judge: str
    def __init__(self, comparisons: _Optional[_Iterable[_Union[_common_pb2.Comparison, _Mapping]]] = ..., principles: _Optional[_Iterable[_Union[PrincipleRef, _Mapping]]] = ..., judge: _Optional[str] = ...) -> None: ...

class CompareResponse(_message.Message):
    __slots__ = ("votes", "judgements", "usage", "panel")
    VOTES_FIELD_NUMBER: _ClassVar[int]
    JUDGEMENTS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    PANEL_FIELD_NUMBER: _ClassVar[int]
    votes: _containers.RepeatedCompositeFieldContainer[Vote]
    judgements: _containers.RepeatedCompositeFieldContainer[Judgement]
    usage: Usage
    panel: _containers.RepeatedCompositeFieldContainer[PanelVotes]
    def __init__(self, votes: _Optional[_Iterable[_Union[Vote, _Mapping]]] = ..., judgements: _Optional[_Iterable[_Union[Judgement, _Mapping]]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., panel: _Optional[_Iterable[_Union[PanelVotes, _Mapping]]] = ...) -> None: ...

class GetJudgeRequest(_message.Message):
    __slots__ = ("constitution",)
    CONSTITUTION_FIELD_NUMBER: _ClassVar[int]
    constitution: str
    def __init__(self, constitution: _Optional[str] = ...) -> None: ...

class GetJudgeResponse(_message.Message):
    __slots__ = ("judge", "critic", "protocol", "template_hash", "panel")
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    CRITIC_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_HASH_FIELD_NUMBER: _ClassVar[int]
    PANEL_FIELD_NUMBER: _ClassVar[int]
    judge: str
    critic: str
    protocol: str
    template_hash: str
    panel: _containers.RepeatedCompositeFieldContainer[PanelJudge]
    def __init__(self, judge: _Optional[str] = ..., critic: _Optional[str] = ..., protocol: _Optional[str] = ..., template_hash: _Optional[str] = ..., panel: _Optional[_Iterable[_Union[PanelJudge, _Mapping]]] = ...) -> None: ...

class Objective(_message.Message):
    __slots__ = ("name", "description", "default_weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    default_weight: float
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., default_weight: _Optional[float] = ...) -> None: ...

class Principle(_message.Message):
    __slots__ = ("id", "title", "serves", "weight", "critique", "revise", "compare", "hash")
    class ServesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    SERVES_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CRITIQUE_FIELD_NUMBER: _ClassVar[int]
    REVISE_FIELD_NUMBER: _ClassVar[int]
    COMPARE_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    id: str
    title: str
    serves: _containers.ScalarMap[str, float]
    weight: float
    critique: str
    revise: str
    compare: str
    hash: str
    def __init__(self, id: _Optional[str] = ..., title: _Optional[str] = ..., serves: _Optional[_Mapping[str, float]] = ..., weight: _Optional[float] = ..., critique: _Optional[str] = ..., revise: _Optional[str] = ..., compare: _Optional[str] = ..., hash: _Optional[str] = ...) -> None: ...

class Constitution(_message.Message):
    __slots__ = ("id", "version", "title", "hash", "objectives", "principles", "name")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVES_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: str
    title: str
    hash: str
    objectives: _containers.RepeatedCompositeFieldContainer[Objective]
    principles: _containers.RepeatedCompositeFieldContainer[Principle]
    name: str
    def __init__(self, id: _Optional[str] = ..., version: _Optional[str] = ..., title: _Optional[str] = ..., hash: _Optional[str] = ..., objectives: _Optional[_Iterable[_Union[Objective, _Mapping]]] = ..., principles: _Optional[_Iterable[_Union[Principle, _Mapping]]] = ..., name: _Optional[str] = ...) -> None: ...

class GetConstitutionRequest(_message.Message):
    __slots__ = ("constitution",)
    CONSTITUTION_FIELD_NUMBER: _ClassVar[int]
    constitution: str
    def __init__(self, constitution: _Optional[str] = ...) -> None: ...

class GetConstitutionResponse(_message.Message):
    __slots__ = ("constitution", "yaml_text")
    CONSTITUTION_FIELD_NUMBER: _ClassVar[int]
    YAML_TEXT_FIELD_NUMBER: _ClassVar[int]
    constitution: Constitution
    yaml_text: str
    def __init__(self, constitution: _Optional[_Union[Constitution, _Mapping]] = ..., yaml_text: _Optional[str] = ...) -> None: ...

class CheckConstitutionRequest(_message.Message):
    __slots__ = ("yaml_text", "source")
    YAML_TEXT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    yaml_text: str
    source: str
    def __init__(self, yaml_text: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class ConstitutionProblem(_message.Message):
    __slots__ = ("file", "line", "column", "code", "message", "hint")
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str
    def __init__(self, file: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ...) -> None: ...

class CheckConstitutionResponse(_message.Message):
    __slots__ = ("problems", "constitution")
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    CONSTITUTION_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[ConstitutionProblem]
    constitution: Constitution
    def __init__(self, problems: _Optional[_Iterable[_Union[ConstitutionProblem, _Mapping]]] = ..., constitution: _Optional[_Union[Constitution, _Mapping]] = ...) -> None: ...

class GetConstitutionStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetConstitutionStatusResponse(_message.Message):
    __slots__ = ("state", "source", "active_hash", "problems")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_HASH_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    state: ConstitutionState
    source: str
    active_hash: str
    problems: _containers.RepeatedCompositeFieldContainer[ConstitutionProblem]
    def __init__(self, state: _Optional[_Union[ConstitutionState, str]] = ..., source: _Optional[str] = ..., active_hash: _Optional[str] = ..., problems: _Optional[_Iterable[_Union[ConstitutionProblem, _Mapping]]] = ...) -> None: ...

class ConstitutionSource(_message.Message):
    __slots__ = ("constitution", "yaml_text", "name")
    CONSTITUTION_FIELD_NUMBER: _ClassVar[int]
    YAML_TEXT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    constitution: str
    yaml_text: str
    name: str
    def __init__(self, constitution: _Optional[str] = ..., yaml_text: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class DiffConstitutionsRequest(_message.Message):
    __slots__ = ("before", "after", "effects", "pairs", "seed", "probes")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    before: ConstitutionSource
    after: ConstitutionSource
    effects: bool
    pairs: int
    seed: int
    probes: _containers.RepeatedCompositeFieldContainer[_common_pb2.Comparison]
    def __init__(self, before: _Optional[_Union[ConstitutionSource, _Mapping]] = ..., after: _Optional[_Union[ConstitutionSource, _Mapping]] = ..., effects: bool = ..., pairs: _Optional[int] = ..., seed: _Optional[int] = ..., probes: _Optional[_Iterable[_Union[_common_pb2.Comparison, _Mapping]]] = ...) -> None: ...

class ConstitutionDiff(_message.Message):
    __slots__ = ("before_hash", "after_hash", "added", "removed", "reworded", "reweighted", "moved", "asked", "retrain", "unaffected", "votes_invalid", "votes_to_ask", "minutes", "json")
    BEFORE_HASH_FIELD_NUMBER: _ClassVar[int]
    AFTER_HASH_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    REWORDED_FIELD_NUMBER: _ClassVar[int]
    REWEIGHTED_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    RETRAIN_FIELD_NUMBER: _ClassVar[int]
    UNAFFECTED_FIELD_NUMBER: _ClassVar[int]
    VOTES_INVALID_FIELD_NUMBER: _ClassVar[int]
    VOTES_TO_ASK_FIELD_NUMBER: _ClassVar[int]
    MINUTES_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    before_hash: str
    after_hash: str
    added: _containers.RepeatedScalarFieldContainer[str]
    removed: _containers.RepeatedScalarFieldContainer[str]
    reworded: _containers.RepeatedScalarFieldContainer[str]
    reweighted: _containers.RepeatedScalarFieldContainer[str]
    moved: _containers.RepeatedScalarFieldContainer[str]
    asked: _containers.RepeatedScalarFieldContainer[str]
    retrain: _containers.RepeatedScalarFieldContainer[str]
    unaffected: _containers.RepeatedScalarFieldContainer[str]
    votes_invalid: int
    votes_to_ask: int
    minutes: float
    json: str
    def __init__(self, before_hash: _Optional[str] = ..., after_hash: _Optional[str] = ..., added: _Optional[_Iterable[str]] = ..., removed: _Optional[_Iterable[str]] = ..., reworded: _Optional[_Iterable[str]] = ..., reweighted: _Optional[_Iterable[str]] = ..., moved: _Optional[_Iterable[str]] = ..., asked: _Optional[_Iterable[str]] = ..., retrain: _Optional[_Iterable[str]] = ..., unaffected: _Optional[_Iterable[str]] = ..., votes_invalid: _Optional[int] = ..., votes_to_ask: _Optional[int] = ..., minutes: _Optional[float] = ..., json: _Optional[str] = ...) -> None: ...

class DiffProgress(_message.Message):
    __slots__ = ("phase", "done", "total")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    phase: str
    done: int
    total: int
    def __init__(self, phase: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class DiffConstitutionsResponse(_message.Message):
    __slots__ = ("diff", "progress", "effects_json")
    DIFF_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_JSON_FIELD_NUMBER: _ClassVar[int]
    diff: ConstitutionDiff
    progress: DiffProgress
    effects_json: str
    def __init__(self, diff: _Optional[_Union[ConstitutionDiff, _Mapping]] = ..., progress: _Optional[_Union[DiffProgress, _Mapping]] = ..., effects_json: _Optional[str] = ...) -> None: ...

class TestConstitutionRequest(_message.Message):
    __slots__ = ("constitution", "principle_ids")
    CONSTITUTION_FIELD_NUMBER: _ClassVar[int]
    PRINCIPLE_IDS_FIELD_NUMBER: _ClassVar[int]
    constitution: ConstitutionSource
    principle_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, constitution: _Optional[_Union[ConstitutionSource, _Mapping]] = ..., principle_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class PrincipleTestResult(_message.Message):
    __slots__ = ("principle_id", "kind", "number", "prompt", "prefer", "over", "margin", "min_margin", "gap", "passed", "reason")
    PRINCIPLE_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    PREFER_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    MIN_MARGIN_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    principle_id: str
    kind: str
    number: int
    prompt: str
    prefer: str
    over: str
    margin: float
    min_margin: float
    gap: float
    passed: bool
    reason: str
    def __init__(self, principle_id: _Optional[str] = ..., kind: _Optional[str] = ..., number: _Optional[int] = ..., prompt: _Optional[str] = ..., prefer: _Optional[str] = ..., over: _Optional[str] = ..., margin: _Optional[float] = ..., min_margin: _Optional[float] = ..., gap: _Optional[float] = ..., passed: bool = ..., reason: _Optional[str] = ...) -> None: ...

class TestConstitutionResponse(_message.Message):
    __slots__ = ("judge", "results")
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    judge: str
    results: _containers.RepeatedCompositeFieldContainer[PrincipleTestResult]
    def __init__(self, judge: _Optional[str] = ..., results: _Optional[_Iterable[_Union[PrincipleTestResult, _Mapping]]] = ...) -> None: ...
