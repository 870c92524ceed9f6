import datetime

from charter.v1 import common_pb2 as _common_pb2
from charter.v1 import server_pb2 as _server_pb2
from charter.v1 import trainer_pb2 as _trainer_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GateState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GATE_STATE_UNSPECIFIED: _ClassVar[GateState]
    GATE_STATE_PASSED: _ClassVar[GateState]
    GATE_STATE_NONE: _ClassVar[GateState]
    GATE_STATE_FAILED: _ClassVar[GateState]
    GATE_STATE_UNMEASURED: _ClassVar[GateState]
GATE_STATE_UNSPECIFIED: GateState
GATE_STATE_PASSED: GateState
GATE_STATE_NONE: GateState
GATE_STATE_FAILED: GateState
GATE_STATE_UNMEASURED: GateState

class GenerateRequest(_message.Message):
    __slots__ = ("prompts", "policy_version", "n", "temperature", "max_tokens", "seed", "stop", "logprobs")
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    prompts: _containers.RepeatedCompositeFieldContainer[_common_pb2.Prompt]
    policy_version: str
    n: int
    temperature: float
    max_tokens: int
    seed: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    logprobs: bool
    def __init__(self, prompts: _Optional[_Iterable[_Union[_common_pb2.Prompt, _Mapping]]] = ..., policy_version: _Optional[str] = ..., n: _Optional[int] = ..., temperature: _Optional[float] = ..., max_tokens: _Optional[int] = ..., seed: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., logprobs: bool = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("samples", "tokens", "policy_version", "policy_alias")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_ALIAS_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[_common_pb2.Sample]
    tokens: _containers.RepeatedCompositeFieldContainer[ResponseTokens]
    policy_version: str
    policy_alias: str
    def __init__(self, samples: _Optional[_Iterable[_Union[_common_pb2.Sample, _Mapping]]] = ..., tokens: _Optional[_Iterable[_Union[ResponseTokens, _Mapping]]] = ..., policy_version: _Optional[str] = ..., policy_alias: _Optional[str] = ...) -> None: ...

class ResponseTokens(_message.Message):
    __slots__ = ("ids", "logprobs")
    IDS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    logprobs: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, ids: _Optional[_Iterable[int]] = ..., logprobs: _Optional[_Iterable[float]] = ...) -> None: ...

class GenerateStreamRequest(_message.Message):
    __slots__ = ("prompt", "policy_version", "temperature", "max_tokens", "seed", "stop", "logprobs")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    prompt: _common_pb2.Prompt
    policy_version: str
    temperature: float
    max_tokens: int
    seed: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    logprobs: bool
    def __init__(self, prompt: _Optional[_Union[_common_pb2.Prompt, _Mapping]] = ..., policy_version: _Optional[str] = ..., temperature: _Optional[float] = ..., max_tokens: _Optional[int] = ..., seed: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., logprobs: bool = ...) -> None: ...

class GenerateStreamResponse(_message.Message):
    __slots__ = ("text", "policy_version", "tokens", "logprob", "finished", "finish_reason", "sample", "new_tokens", "policy_alias")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    POLICY_ALIAS_FIELD_NUMBER: _ClassVar[int]
    text: str
    policy_version: str
    tokens: int
    logprob: float
    finished: bool
    finish_reason: _common_pb2.FinishReason
    sample: _common_pb2.Sample
    new_tokens: ResponseTokens
    policy_alias: str
    def __init__(self, text: _Optional[str] = ..., policy_version: _Optional[str] = ..., tokens: _Optional[int] = ..., logprob: _Optional[float] = ..., finished: bool = ..., finish_reason: _Optional[_Union[_common_pb2.FinishReason, str]] = ..., sample: _Optional[_Union[_common_pb2.Sample, _Mapping]] = ..., new_tokens: _Optional[_Union[ResponseTokens, _Mapping]] = ..., policy_alias: _Optional[str] = ...) -> None: ...

class PolicyVersion(_message.Message):
    __slots__ = ("id", "run_id", "stage", "parent", "base_model", "artifact", "step", "ungated", "name")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    UNGATED_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    id: str
    run_id: str
    stage: str
    parent: str
    base_model: str
    artifact: str
    step: int
    ungated: bool
    name: str
    def __init__(self, id: _Optional[str] = ..., run_id: _Optional[str] = ..., stage: _Optional[str] = ..., parent: _Optional[str] = ..., base_model: _Optional[str] = ..., artifact: _Optional[str] = ..., step: _Optional[int] = ..., ungated: bool = ..., name: _Optional[str] = ...) -> None: ...

class ListPolicyVersionsRequest(_message.Message):
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

class ListPolicyVersionsResponse(_message.Message):
    __slots__ = ("policy_versions", "next_page_token")
    POLICY_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    policy_versions: _containers.RepeatedCompositeFieldContainer[PolicyVersion]
    next_page_token: str
    def __init__(self, policy_versions: _Optional[_Iterable[_Union[PolicyVersion, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("policy_version", "aliases", "run_state", "unfinished", "gates", "gate_reason")
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    RUN_STATE_FIELD_NUMBER: _ClassVar[int]
    UNFINISHED_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    GATE_REASON_FIELD_NUMBER: _ClassVar[int]
    policy_version: PolicyVersion
    aliases: _containers.RepeatedScalarFieldContainer[str]
    run_state: _trainer_pb2.RunState
    unfinished: str
    gates: GateState
    gate_reason: str
    def __init__(self, policy_version: _Optional[_Union[PolicyVersion, _Mapping]] = ..., aliases: _Optional[_Iterable[str]] = ..., run_state: _Optional[_Union[_trainer_pb2.RunState, str]] = ..., unfinished: _Optional[str] = ..., gates: _Optional[_Union[GateState, str]] = ..., gate_reason: _Optional[str] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ("policy_version",)
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    policy_version: str
    def __init__(self, policy_version: _Optional[str] = ...) -> None: ...

class GetPolicyResponse(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: Policy
    def __init__(self, policy: _Optional[_Union[Policy, _Mapping]] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
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

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies", "next_page_token")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[Policy]
    next_page_token: str
    def __init__(self, policies: _Optional[_Iterable[_Union[Policy, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class PolicyChange(_message.Message):
    __slots__ = ("number", "alias", "policy_version", "previous", "kind", "changed_by", "reason", "overridden", "create_time")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CHANGED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OVERRIDDEN_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    number: int
    alias: str
    policy_version: str
    previous: str
    kind: str
    changed_by: str
    reason: str
    overridden: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, number: _Optional[int] = ..., alias: _Optional[str] = ..., policy_version: _Optional[str] = ..., previous: _Optional[str] = ..., kind: _Optional[str] = ..., changed_by: _Optional[str] = ..., reason: _Optional[str] = ..., overridden: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PromotePolicyRequest(_message.Message):
    __slots__ = ("policy_version", "alias", "allow_ungated", "reason", "changed_by", "request_id", "validate_only")
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_UNGATED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHANGED_BY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    policy_version: str
    alias: str
    allow_ungated: bool
    reason: str
    changed_by: str
    request_id: str
    validate_only: bool
    def __init__(self, policy_version: _Optional[str] = ..., alias: _Optional[str] = ..., allow_ungated: bool = ..., reason: _Optional[str] = ..., changed_by: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class PromotePolicyResponse(_message.Message):
    __slots__ = ("change",)
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    change: PolicyChange
    def __init__(self, change: _Optional[_Union[PolicyChange, _Mapping]] = ...) -> None: ...

class RollbackPolicyRequest(_message.Message):
    __slots__ = ("alias", "reason", "changed_by", "request_id", "validate_only")
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHANGED_BY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    alias: str
    reason: str
    changed_by: str
    request_id: str
    validate_only: bool
    def __init__(self, alias: _Optional[str] = ..., reason: _Optional[str] = ..., changed_by: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class RollbackPolicyResponse(_message.Message):
    __slots__ = ("change",)
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    change: PolicyChange
    def __init__(self, change: _Optional[_Union[PolicyChange, _Mapping]] = ...) -> None: ...

class ListPolicyChangesRequest(_message.Message):
    __slots__ = ("alias", "page_size", "page_token", "read_mask")
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    alias: str
    page_size: int
    page_token: str
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, alias: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class ListPolicyChangesResponse(_message.Message):
    __slots__ = ("changes", "next_page_token")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[PolicyChange]
    next_page_token: str
    def __init__(self, changes: _Optional[_Iterable[_Union[PolicyChange, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ExportPolicyRequest(_message.Message):
    __slots__ = ("policy_version", "merge")
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    policy_version: str
    merge: bool
    def __init__(self, policy_version: _Optional[str] = ..., merge: bool = ...) -> None: ...

class ExportPolicyResponse(_message.Message):
    __slots__ = ("path", "data", "policy_version")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    path: str
    data: bytes
    policy_version: str
    def __init__(self, path: _Optional[str] = ..., data: _Optional[bytes] = ..., policy_version: _Optional[str] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "api_versions", "services", "base_model", "device", "max_length", "max_tokens", "max_message_bytes", "default_constitution", "info")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    API_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_CONSTITUTION_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    version: str
    api_versions: _containers.RepeatedScalarFieldContainer[str]
    services: _containers.RepeatedScalarFieldContainer[str]
    base_model: str
    device: str
    max_length: int
    max_tokens: int
    max_message_bytes: int
    default_constitution: str
    info: _server_pb2.ServerInfo
    def __init__(self, version: _Optional[str] = ..., api_versions: _Optional[_Iterable[str]] = ..., services: _Optional[_Iterable[str]] = ..., base_model: _Optional[str] = ..., device: _Optional[str] = ..., max_length: _Optional[int] = ..., max_tokens: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., default_constitution: _Optional[str] = ..., info: _Optional[_Union[_server_pb2.ServerInfo, _Mapping]] = ...) -> None: ...
