import datetime

from charter.v1 import common_pb2 as _common_pb2
from charter.v1 import critique_pb2 as _critique_pb2
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

class DatasetFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATASET_FORMAT_UNSPECIFIED: _ClassVar[DatasetFormat]
    DATASET_FORMAT_PROMPTS: _ClassVar[DatasetFormat]
    DATASET_FORMAT_DEMONSTRATIONS: _ClassVar[DatasetFormat]
    DATASET_FORMAT_PREFERENCES: _ClassVar[DatasetFormat]
    DATASET_FORMAT_RATINGS: _ClassVar[DatasetFormat]
    DATASET_FORMAT_RANKINGS: _ClassVar[DatasetFormat]
    DATASET_FORMAT_STEPS: _ClassVar[DatasetFormat]
    DATASET_FORMAT_LABELS: _ClassVar[DatasetFormat]
    DATASET_FORMAT_CONSTITUTION: _ClassVar[DatasetFormat]

class DatasetEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATASET_ENCODING_UNSPECIFIED: _ClassVar[DatasetEncoding]
    DATASET_ENCODING_JSONL: _ClassVar[DatasetEncoding]
    DATASET_ENCODING_PARQUET: _ClassVar[DatasetEncoding]
    DATASET_ENCODING_YAML: _ClassVar[DatasetEncoding]

class RunContent(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_CONTENT_UNSPECIFIED: _ClassVar[RunContent]
    RUN_CONTENT_PREFERENCES: _ClassVar[RunContent]
    RUN_CONTENT_DEMONSTRATIONS: _ClassVar[RunContent]
    RUN_CONTENT_SAMPLES: _ClassVar[RunContent]
    RUN_CONTENT_RATINGS: _ClassVar[RunContent]
    RUN_CONTENT_RANKINGS: _ClassVar[RunContent]
    RUN_CONTENT_SPANS: _ClassVar[RunContent]
DATASET_FORMAT_UNSPECIFIED: DatasetFormat
DATASET_FORMAT_PROMPTS: DatasetFormat
DATASET_FORMAT_DEMONSTRATIONS: DatasetFormat
DATASET_FORMAT_PREFERENCES: DatasetFormat
DATASET_FORMAT_RATINGS: DatasetFormat
DATASET_FORMAT_RANKINGS: DatasetFormat
DATASET_FORMAT_STEPS: DatasetFormat
DATASET_FORMAT_LABELS: DatasetFormat
DATASET_FORMAT_CONSTITUTION: DatasetFormat
DATASET_ENCODING_UNSPECIFIED: DatasetEncoding
DATASET_ENCODING_JSONL: DatasetEncoding
DATASET_ENCODING_PARQUET: DatasetEncoding
DATASET_ENCODING_YAML: DatasetEncoding
RUN_CONTENT_UNSPECIFIED: RunContent
RUN_CONTENT_PREFERENCES: RunContent
RUN_CONTENT_DEMONSTRATIONS: RunContent
RUN_CONTENT_SAMPLES: RunContent
RUN_CONTENT_RATINGS: RunContent
RUN_CONTENT_RANKINGS: RunContent
RUN_CONTENT_SPANS: RunContent

class Dataset(_message.Message):
    __slots__ = ("id", "name", "format", "encoding", "hash", "rows", "size_bytes", "description", "created_by", "create_time", "etag", "reference", "run_ids")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    format: DatasetFormat
    encoding: DatasetEncoding
    hash: str
    rows: int
    size_bytes: int
    description: str
    created_by: str
    create_time: _timestamp_pb2.Timestamp
    etag: str
    reference: str
    run_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., format: _Optional[_Union[DatasetFormat, str]] = ..., encoding: _Optional[_Union[DatasetEncoding, str]] = ..., hash: _Optional[str] = ..., rows: _Optional[int] = ..., size_bytes: _Optional[int] = ..., description: _Optional[str] = ..., created_by: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., reference: _Optional[str] = ..., run_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class DatasetUpload(_message.Message):
    __slots__ = ("dataset_id", "format", "sha256", "size_bytes", "description", "etag", "validate_only")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    format: DatasetFormat
    sha256: str
    size_bytes: int
    description: str
    etag: str
    validate_only: bool
    def __init__(self, dataset_id: _Optional[str] = ..., format: _Optional[_Union[DatasetFormat, str]] = ..., sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., description: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class DatasetChunk(_message.Message):
    __slots__ = ("offset", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class UploadDatasetRequest(_message.Message):
    __slots__ = ("upload", "chunk")
    UPLOAD_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    upload: DatasetUpload
    chunk: DatasetChunk
    def __init__(self, upload: _Optional[_Union[DatasetUpload, _Mapping]] = ..., chunk: _Optional[_Union[DatasetChunk, _Mapping]] = ...) -> None: ...

class UploadDatasetResponse(_message.Message):
    __slots__ = ("dataset", "received_bytes")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    received_bytes: int
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ..., received_bytes: _Optional[int] = ...) -> None: ...

class GetUploadRequest(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    def __init__(self, sha256: _Optional[str] = ...) -> None: ...

class GetUploadResponse(_message.Message):
    __slots__ = ("received_bytes", "stored")
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    received_bytes: int
    stored: bool
    def __init__(self, received_bytes: _Optional[int] = ..., stored: bool = ...) -> None: ...

class GetDatasetRequest(_message.Message):
    __slots__ = ("dataset_id", "read_mask")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, dataset_id: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class GetDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class ListDatasetsRequest(_message.Message):
    __slots__ = ("format", "versions_of", "page_size", "page_token", "read_mask")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_OF_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    format: DatasetFormat
    versions_of: str
    page_size: int
    page_token: str
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, format: _Optional[_Union[DatasetFormat, str]] = ..., versions_of: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class ListDatasetsResponse(_message.Message):
    __slots__ = ("datasets", "next_page_token")
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    next_page_token: str
    def __init__(self, datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DatasetRow(_message.Message):
    __slots__ = ("number", "json")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    number: int
    json: str
    def __init__(self, number: _Optional[int] = ..., json: _Optional[str] = ...) -> None: ...

class ListDatasetRowsRequest(_message.Message):
    __slots__ = ("dataset_id", "page_size", "page_token", "read_mask")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    page_size: int
    page_token: str
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, dataset_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class ListDatasetRowsResponse(_message.Message):
    __slots__ = ("rows", "next_page_token", "total_rows")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[DatasetRow]
    next_page_token: str
    total_rows: int
    def __init__(self, rows: _Optional[_Iterable[_Union[DatasetRow, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_rows: _Optional[int] = ...) -> None: ...

class ExportDatasetRequest(_message.Message):
    __slots__ = ("dataset_id", "encoding", "offset")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    encoding: DatasetEncoding
    offset: int
    def __init__(self, dataset_id: _Optional[str] = ..., encoding: _Optional[_Union[DatasetEncoding, str]] = ..., offset: _Optional[int] = ...) -> None: ...

class ExportDatasetResponse(_message.Message):
    __slots__ = ("data", "dataset")
    DATA_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    dataset: Dataset
    def __init__(self, data: _Optional[bytes] = ..., dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class DeleteDatasetRequest(_message.Message):
    __slots__ = ("dataset_id", "etag", "request_id", "validate_only", "although_used")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    ALTHOUGH_USED_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    etag: str
    request_id: str
    validate_only: bool
    although_used: bool
    def __init__(self, dataset_id: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., although_used: bool = ...) -> None: ...

class DeleteDatasetResponse(_message.Message):
    __slots__ = ("dataset_id", "versions", "size_bytes", "run_ids")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    versions: int
    size_bytes: int
    run_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, dataset_id: _Optional[str] = ..., versions: _Optional[int] = ..., size_bytes: _Optional[int] = ..., run_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ListSamplesRequest(_message.Message):
    __slots__ = ("run_id", "stage", "policy_version", "page_size", "page_token", "read_mask")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    stage: str
    policy_version: str
    page_size: int
    page_token: str
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, run_id: _Optional[str] = ..., stage: _Optional[str] = ..., policy_version: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class ListSamplesResponse(_message.Message):
    __slots__ = ("samples", "next_page_token")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[_common_pb2.Sample]
    next_page_token: str
    def __init__(self, samples: _Optional[_Iterable[_Union[_common_pb2.Sample, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListComparisonsRequest(_message.Message):
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

class ListComparisonsResponse(_message.Message):
    __slots__ = ("comparisons", "next_page_token")
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    comparisons: _containers.RepeatedCompositeFieldContainer[_common_pb2.Comparison]
    next_page_token: str
    def __init__(self, comparisons: _Optional[_Iterable[_Union[_common_pb2.Comparison, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListRevisionsRequest(_message.Message):
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

class ListRevisionsResponse(_message.Message):
    __slots__ = ("steps", "next_page_token")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[_critique_pb2.RevisionStep]
    next_page_token: str
    def __init__(self, steps: _Optional[_Iterable[_Union[_critique_pb2.RevisionStep, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ExportRunRequest(_message.Message):
    __slots__ = ("run_id", "content", "objective", "labelers", "policy_version", "stage", "encoding")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    LABELERS_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    content: RunContent
    objective: str
    labelers: _preference_pb2.LabelerKind
    policy_version: str
    stage: str
    encoding: DatasetEncoding
    def __init__(self, run_id: _Optional[str] = ..., content: _Optional[_Union[RunContent, str]] = ..., objective: _Optional[str] = ..., labelers: _Optional[_Union[_preference_pb2.LabelerKind, str]] = ..., policy_version: _Optional[str] = ..., stage: _Optional[str] = ..., encoding: _Optional[_Union[DatasetEncoding, str]] = ...) -> None: ...

class ExportRunResponse(_message.Message):
    __slots__ = ("data", "rows")
    DATA_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    rows: int
    def __init__(self, data: _Optional[bytes] = ..., rows: _Optional[int] = ...) -> None: ...
