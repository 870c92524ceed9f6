"""Aliases over a real socket: who speaks by default, promotion once for each request, and who may promote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from charter.v1 import policy_pb2, policy_pb2_grpc

from rlhf_core.errors import Conflict, Forbidden, InvalidInput, NotFound, RequestReused
from rlhf_core.records.samples import Prompt
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.client.connection import Connection
from services.embedded import embedded_server
from services.security.tokens import new_token
from services.server.config import ServeConfig
from tests.services.apps import serving

ASK = [Prompt.of("How do I dust a shelf?")]
SHORT = {"temperature": 0, "max_tokens": 4}


@pytest.fixture(scope="module")
def address(tmp_path_factory, model_config, trained) -> Iterator[str]:
    """A server whose store has `policy-1`, fit to be promoted, and `policy-2`, whose stage is not finished."""
    data = tmp_path_factory.mktemp("aliases")
    trained(data)
    store = Store.open(data)
    version = store.policy_versions.get("policy-1")
    store.policy_versions.add(version.model_copy(update={"id": "policy-2"}))
    store.close()
    with embedded_server(data, model_config, works=False) as found:
        yield found


@pytest.fixture
def client(address) -> Iterator[CharterClient]:
    with CharterClient.connect(address, timeout_seconds=30) as found:
        yield found
        while found.policy.get_policy().aliases:
            found.policy.rollback_policy()


def test_production_speaks_where_none_is_named_and_the_answer_says_so(client, address):
    (before,) = client.policy.generate(ASK, **SHORT)
    client.policy.promote_policy("policy-1")
    (after,) = client.policy.generate(ASK, **SHORT)
    (named,) = client.policy.generate(ASK, policy_version="base", **SHORT)
    assert [before.policy_version, after.policy_version, named.policy_version] == ["base", "policy-1", "base"]
    stub = policy_pb2_grpc.PolicyServiceStub(Connection(address).channel)
    prompt = {"text": "How do I dust a shelf?"}
    answer = stub.Generate(policy_pb2.GenerateRequest(prompts=[prompt], max_tokens=4))
    assert (answer.policy_version, answer.policy_alias) == ("policy-1", "production")
    pieces = list(stub.GenerateStream(policy_pb2.GenerateStreamRequest(prompt=prompt, max_tokens=4)))
    assert {(piece.policy_version, piece.policy_alias) for piece in pieces} == {("policy-1", "production")}


def test_policies_are_listed_newest_first_with_what_they_have_behind_them(client):
    client.policy.promote_policy("policy-1", "candidate")
    half, whole = client.policy.list_policies()
    assert (half.version.id, whole.version.id) == ("policy-2", "policy-1")
    assert "is not finished" in half.unfinished and not half.is_fit
    assert (whole.aliases, whole.run_state, whole.gates, whole.is_fit) == (("candidate",), "SUCCEEDED", "none", True)
    assert client.policy.list_policies(whole.version.run_id)[0].version.id == "policy-2"
    assert client.policy.rollback_policy("candidate").version == ""


def test_a_promotion_sent_again_changes_nothing_more(client):
    first = client.policy.promote_policy("policy-1", request_id="once", reason="r")
    client.policy.rollback_policy()
    assert client.policy.promote_policy("policy-1", request_id="once", reason="r") == first
    assert client.policy.get_policy().version.id == "base"
    with pytest.raises(RequestReused):
        client.policy.promote_policy("base", request_id="once", reason="r")


def test_a_promotion_that_is_only_checked_leaves_no_trace(client, address):
    before = len(client.policy.policy_history())
    stub = policy_pb2_grpc.PolicyServiceStub(Connection(address).channel)
    request = policy_pb2.PromotePolicyRequest(policy_version="policy-1", validate_only=True)
    assert stub.PromotePolicy(request).change.policy_version == "policy-1"
    assert len(client.policy.policy_history()) == before


@pytest.mark.parametrize(
    ("version", "alias", "error", "told"),
    [
        ("policy-2", "", Conflict, "is not finished"),
        ("policy-9", "", NotFound, "policy-9"),
        ("", "", InvalidInput, "policy_version: not given"),
        ("policy-1", "latest", InvalidInput, "alias: 'latest'"),
        ("rewardModels/x", "", InvalidInput, "policy_version"),
    ],
)
def test_a_wrong_promotion_is_refused_in_words(client, version, alias, error, told):
    with pytest.raises(error, match=told) as refused:
        client.policy.promote_policy(version, alias)
    assert "--" not in str(refused.value), "a caller of gRPC has no flags"


def test_changes_come_page_by_page_newest_first(client, address):
    for _ in range(2):
        client.policy.promote_policy("policy-1")
        client.policy.rollback_policy()
    stub = policy_pb2_grpc.PolicyServiceStub(Connection(address).channel)
    seen, token = [], ""
    while not seen or token:
        answer = stub.ListPolicyChanges(policy_pb2.ListPolicyChangesRequest(page_size=3, page_token=token))
        seen += [change.number for change in answer.changes]
        token = answer.next_page_token
    assert seen == sorted(seen, reverse=True) and len(set(seen)) == len(seen) >= 4


def test_promotion_needs_a_token_to_train_and_the_history_names_it(tmp_path: Path, model_config, trained):
    trained(tmp_path / "d")
    file = tmp_path / "tokens"
    reader, trainer = new_token(file, "reader", ["read"]), new_token(file, "ci", ["train"])
    config = ServeConfig(
        address="localhost:0", data=tmp_path / "d", model=model_config, only=("policy",), tokens=file, insecure=True
    )

    def look(address: str) -> None:
        with CharterClient.connect(address, reader) as one, CharterClient.connect(address, trainer) as other:
            with pytest.raises(Forbidden):
                one.policy.promote_policy("policy-1")
            other.policy.promote_policy("policy-1", changed_by="somebody else")
            assert [change.changed_by for change in one.policy.policy_history()] == ["ci"]

    serving(config, look)
