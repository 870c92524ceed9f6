"""`charter generate` and `call`: asking a server, in words or in JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from services.cli import options

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, MethodDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool

    from rlhf_core.records.models import PolicyStanding
    from rlhf_core.records.samples import Prompt, Sample
    from services.client.client import CharterClient
    from services.client.connection import Connection

INTERNAL_SERVICES = ("grpc.",)
BASE = "base"


def generate(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to ask; `-` reads it from stdin.")],
    policy: options.Policy = "",
    n: Annotated[int, typer.Option("-n", min=1, max=64, help="How many responses.")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0 takes the likeliest token.")] = 0.0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=0, help="Longest response; 0: the default.")] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draw.")] = 0,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="End before this string; may be repeated.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the text as it is written.")] = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Ask a policy something.

    \b
    Examples:
      charter generate "How do I unclog the drain?"
      charter generate "How do I unclog the drain?" --policy base -n 3 --temperature 1
      echo "How do I paint a door?" | charter generate - --stream

    Who answers is told on stderr. `production` is what `charter policies promote` made it; `latest` is the newest
    version of a finished run whose gates passed.
    """
    from rlhf_core.errors import InvalidInput
    from services.cli.session import model_of_policy, open_client, read_stdin

    if stream and (n > 1 or as_json):
        raise InvalidInput("--stream prints one response as text; leave out -n and --json")
    prompt = _question(read_stdin() if text == "-" else text)
    with open_client(address, token, data, None if address else model_of_policy(data, policy)) as client:
        speaks = client.policy.get_policy(policy)
        version = speaks.version.id
        typer.echo(speaker_text(client, speaks, policy), err=True)
        draw: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, "stop": stop or ()}
        if stream:
            for piece in client.policy.generate_stream(prompt, policy_version=version, **draw):
                typer.echo(piece.text, nl=False)
            typer.echo()
            return
        samples = client.policy.generate([prompt], policy_version=version, n=n, **draw)
    _print_samples(samples, as_json)


def call(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="charter.v1.PolicyService/Generate")] = "",
    body: Annotated[str, typer.Option("-d", "--data-json", metavar="JSON", help="The request; `-`: stdin.")] = "{}",
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Call any method of a server with JSON.

    \b
    Examples:
      charter call
      charter call charter.v1.PolicyService
      charter call charter.v1.PolicyService/Generate -d '{"prompts": [{"text": "How do I unclog the drain?"}]}'
      charter call charter.v1.TrainerService/WatchRun -d '{"runId": "run-1f0c"}' --address localhost:50051

    Without a method, lists what there is. Works by reflection, or by the contract of this version where the server
    does not describe itself. A stream prints one JSON object per message.
    """
    from services.cli.session import model_of_folder, open_client, read_stdin
    from services.client.connection import Connection

    service, _, wanted = method.strip("/").partition("/")
    with open_client(address, token, data, None if address else model_of_folder(data)) as client:
        connection = Connection(client.address_of(service), token)
        names, pool = _contract(connection)
        if wanted:
            found = _method(pool, names, service, wanted)
            _call(connection, pool, found, read_stdin() if body == "-" else body)
        else:
            _list_methods(pool, _matching(names, service))


def _contract(connection: Connection) -> tuple[list[str], DescriptorPool]:
    """The names of the services, and where they are described."""
    import grpc
    from google.protobuf import descriptor_pool
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    from services.security.scopes import NEEDED
    from services.wire.status import error_from_call

    try:
        database = ProtoReflectionDescriptorDatabase(connection.channel)
        names = [name for name in database.get_services() if not name.startswith(INTERNAL_SERVICES)]
        return names, descriptor_pool.DescriptorPool(database)
    except grpc.RpcError as error:
        if cast(grpc.Call, error).code() != grpc.StatusCode.UNIMPLEMENTED:
            raise error_from_call(error, connection.address) from None
    return sorted({method.partition("/")[0] for method in NEEDED}), descriptor_pool.Default()


def _question(text: str) -> Prompt:
    from rlhf_core.errors import InvalidInput
    from rlhf_core.records.samples import Prompt

    if not text.strip():
        raise InvalidInput("the question is empty")
    return Prompt.of(text.strip())


def _print_samples(samples: list[Sample], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"samples": [sample.model_dump() for sample in samples]}, indent=2))
        return
    for sample in samples:
        typer.echo(sample.response if len(samples) == 1 else f"- {sample.response}")


def speaker_text(client: CharterClient, speaks: PolicyStanding, asked: str) -> str:
    """Say who answers, and where nobody holds `production`, which policy could."""
    version = speaks.version
    if asked or version.id != BASE:
        names = f" ({', '.join(speaks.aliases)})" if speaks.aliases else ""
        doubt = "" if speaks.is_fit else f"; {speaks.unfinished or f'gates: {speaks.gate_reason}'}"
        return f"policy {version.id}{names}{doubt}"
    fit = next((policy for policy in client.policy.list_policies() if policy.is_fit), None)
    way = f"; to let the newest one answer: charter policies promote {fit.version.id}" if fit else ""
    return f"policy {BASE}, the base model: nobody holds `production`{way}"


def _matching(names: list[str], service: str) -> list[str]:
    from rlhf_core.errors import NotFound
    from services.cli.run_config import nearest

    if service and service not in names:
        raise NotFound(f"no service '{service}'{nearest(service, names)}")
    return [service] if service else names


def _method(pool: DescriptorPool, names: list[str], service: str, wanted: str) -> MethodDescriptor:
    from rlhf_core.errors import NotFound
    from services.cli.run_config import nearest

    methods = pool.FindServiceByName(_matching(names, service)[0]).methods_by_name
    if wanted not in methods:
        raise NotFound(f"{service} has no method '{wanted}'{nearest(wanted, list(methods))}")
    return methods[wanted]


def _list_methods(pool: DescriptorPool, services: list[str]) -> None:
    for name in services:
        for method in pool.FindServiceByName(name).methods:
            asked, told = ("stream " * streams for streams in (method.client_streaming, method.server_streaming))
            typer.echo(f"{name}/{method.name}  ({asked}{method.input_type.name}) -> {told}{method.output_type.name}")


def _call(connection: Connection, pool: DescriptorPool, method: MethodDescriptor, body: str) -> None:
    from google.protobuf import json_format, message_factory

    from rlhf_core.errors import InvalidInput

    request = message_factory.GetMessageClass(method.input_type)()
    try:
        json_format.Parse(body, request, descriptor_pool=pool)
    except json_format.ParseError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise InvalidInput(f"-d: {reason}. {allowed_instead(pool, method.input_type, reason)}") from None
    response_class = message_factory.GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    coding = {"request_serializer": lambda m: m.SerializeToString(), "response_deserializer": response_class.FromString}
    if method.server_streaming:
        for response in connection.stream(connection.channel.unary_stream(path, **coding), request):
            typer.echo(json_format.MessageToJson(response, indent=None, descriptor_pool=pool))
    else:
        response = connection.call(connection.channel.unary_unary(path, **coding), request)
        typer.echo(json_format.MessageToJson(response, descriptor_pool=pool))


def allowed_instead(pool: DescriptorPool, request: Descriptor, reason: str) -> str:
    """Say what could have been meant: the names of an enum, or the fields of the message at fault."""
    from rlhf_core.errors import suggestion

    if wrong := re.search(r"enum value (\S+) for enum type ([\w.]+)\b", reason):
        return suggestion(wrong[1], [value.name for value in pool.FindEnumTypeByName(wrong[2]).values][1:])
    names = [field.json_name for field in request.fields]
    if wrong := re.search(r'Message type "([\w.]+)" has no field named "([^"]*)"', reason):
        names = [field.json_name for field in pool.FindMessageTypeByName(wrong[1]).fields]
        return suggestion(wrong[2], names)
    return f"Fields of {request.name}: {', '.join(names) or 'none'}"
