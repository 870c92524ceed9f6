from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetInfoResponse(_message.Message):
    __slots__ = ("info", "caller")
    INFO_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    info: ServerInfo
    caller: Caller
    def __init__(self, info: _Optional[_Union[ServerInfo, _Mapping]] = ..., caller: _Optional[_Union[Caller, _Mapping]] = ...) -> None: ...

class Caller(_message.Message):
    __slots__ = ("name", "scopes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    name: str
    scopes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., scopes: _Optional[_Iterable[str]] = ...) -> None: ...

class ServerInfo(_message.Message):
    __slots__ = ("version", "api_versions", "services", "versions", "models", "device", "limits", "default_constitution", "carries_out_runs")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    API_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_CONSTITUTION_FIELD_NUMBER: _ClassVar[int]
    CARRIES_OUT_RUNS_FIELD_NUMBER: _ClassVar[int]
    version: str
    api_versions: _containers.RepeatedScalarFieldContainer[str]
    services: _containers.RepeatedScalarFieldContainer[str]
    versions: _containers.ScalarMap[str, str]
    models: _containers.RepeatedCompositeFieldContainer[ServedModel]
    device: str
    limits: ServerLimits
    default_constitution: str
    carries_out_runs: bool
    def __init__(self, version: _Optional[str] = ..., api_versions: _Optional[_Iterable[str]] = ..., services: _Optional[_Iterable[str]] = ..., versions: _Optional[_Mapping[str, str]] = ..., models: _Optional[_Iterable[_Union[ServedModel, _Mapping]]] = ..., device: _Optional[str] = ..., limits: _Optional[_Union[ServerLimits, _Mapping]] = ..., default_constitution: _Optional[str] = ..., carries_out_runs: bool = ...) -> None: ...

class ServedModel(_message.Message):
    __slots__ = ("role", "model", "place")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    role: str
    model: str
    place: str
    def __init__(self, role: _Optional[str] = ..., model: _Optional[str] = ..., place: _Optional[str] = ...) -> None: ...

class ServerLimits(_message.Message):
    __slots__ = ("max_message_bytes", "max_concurrent_calls", "max_length", "default_max_tokens", "max_n", "max_page_size", "max_concurrent_calls_per_client", "max_text_characters", "max_name_characters", "max_items", "max_responses", "max_waiting_rows")
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENT_CALLS_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_N_FIELD_NUMBER: _ClassVar[int]
    MAX_PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENT_CALLS_PER_CLIENT_FIELD_NUMBER: _ClassVar[int]
    MAX_TEXT_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    MAX_NAME_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_RESPONSES_FIELD_NUMBER: _ClassVar[int]
    MAX_WAITING_ROWS_FIELD_NUMBER: _ClassVar[int]
    max_message_bytes: int
    max_concurrent_calls: int
    max_length: int
    default_max_tokens: int
    max_n: int
    max_page_size: int
    max_concurrent_calls_per_client: int
    max_text_characters: int
    max_name_characters: int
    max_items: int
    max_responses: int
    max_waiting_rows: int
    def __init__(self, max_message_bytes: _Optional[int] = ..., max_concurrent_calls: _Optional[int] = ..., max_length: _Optional[int] = ..., default_max_tokens: _Optional[int] = ..., max_n: _Optional[int] = ..., max_page_size: _Optional[int] = ..., max_concurrent_calls_per_client: _Optional[int] = ..., max_text_characters: _Optional[int] = ..., max_name_characters: _Optional[int] = ..., max_items: _Optional[int] = ..., max_responses: _Optional[int] = ..., max_waiting_rows: _Optional[int] = ...) -> None: ...
