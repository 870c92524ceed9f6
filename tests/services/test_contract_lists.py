"""The rules of the contract on labels and versions, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from charter.v1 import policy_pb2, policy_pb2_grpc, preference_pb2, preference_pb2_grpc, reward_pb2, reward_pb2_grpc
from google.protobuf.field_mask_pb2 import FieldMask

from rlhf_core.errors import InvalidInput, RequestReused
from rlhf_core.records.samples import BASE_POLICY, Comparison, Prompt, Sample
from services.client.connection import Connection
from services.wire.samples import comparison_to_message
from tests.services.run_server import RunServer, run_server


def pair(number: int) -> Comparison:
    prompt = Prompt.of(f"How do I wash cup {number}?")
    both = [
        Sample(id=f"{side}{number}", prompt=prompt, response=f"by {side}", policy_version=BASE_POLICY) for side in "ab"
    ]
    return Comparison.of(*both, run_id="")


class Labels:
    """PreferenceService of a server, by its messages."""

    def __init__(self, server: RunServer):
        self._connection = server.connection
        self._stub = preference_pb2_grpc.PreferenceServiceStub(server.connection.channel)

    def ask(self, method: str, **fields: Any) -> Any:
        return self._connection.call(getattr(self._stub, method), getattr(preference_pb2, f"{method}Request")(**fields))

    def submit(self, number: int, **fields: Any) -> preference_pb2.Preference:
        given = {"objective": "helpful", "labeler": "ana", "choice": "CHOICE_A"} | fields
        return self.ask("SubmitPreference", comparison=comparison_to_message(pair(number)), **given).preference


@pytest.fixture
def labels(tmp_path) -> Iterator[Labels]:
    with run_server(tmp_path) as server:
        yield Labels(server)


def test_labels_come_page_by_page_each_once_though_some_are_taken_back(labels):
    given = [labels.submit(number).id for number in range(5)]
    first = labels.ask("ListPreferences", page_size=2)
    labels.ask("UndoPreference", labeler="ana")
    second = labels.ask("ListPreferences", page_size=2, page_token=first.next_page_token)
    assert [label.id for label in (*first.preferences, *second.preferences)] == given[:4]
    assert second.next_page_token == ""
    assert [label.name for label in first.preferences] == [f"preferences/{name}" for name in given[:2]]


def test_a_token_of_labels_is_of_its_filters(labels):
    for number in range(3):
        labels.submit(number)
    token = labels.ask("ListPreferences", page_size=1, objective="helpful").next_page_token
    for fields in ({}, {"objective": "harmless"}, {"objective": "helpful", "labelers": "LABELER_KIND_HUMAN"}):
        with pytest.raises(InvalidInput) as caught:
            labels.ask("ListPreferences", page_token=token, **fields)
        assert caught.value.field == "page_token"
    with pytest.raises(InvalidInput):
        labels.ask("ListPreferences", page_size=-1)


def test_a_mask_of_labels_leaves_what_it_names(labels):
    labels.submit(1)
    [label] = labels.ask("ListPreferences", read_mask=FieldMask(paths=["name", "choice"])).preferences
    assert {field.name for field, _ in label.ListFields()} == {"name", "choice"}
    with pytest.raises(InvalidInput, match="choices"):
        labels.ask("ListPreferences", read_mask=FieldMask(paths=["choices"]))


def test_a_label_or_a_step_back_sent_again_counts_once_even_after_a_restart(tmp_path):
    with run_server(tmp_path) as server:
        first = Labels(server).submit(1, request_id="one")
        kept = Labels(server).submit(2, request_id="two")
        assert Labels(server).ask("UndoPreference", labeler="ana", request_id="back").preference == kept
    with run_server(tmp_path) as server:
        labels = Labels(server)
        assert labels.submit(1, request_id="one") == first
        assert labels.ask("UndoPreference", labeler="ana", request_id="back").preference == kept
        assert [label.id for label in labels.ask("ListPreferences").preferences] == [first.id]
        for again in ({"choice": "CHOICE_B"}, {"labeler": "bo"}, {"reason": "other"}):
            with pytest.raises(RequestReused):
                labels.submit(1, request_id="one", **again)
        with pytest.raises(RequestReused):
            labels.ask("UndoPreference", labeler="bo", request_id="back")


def test_a_step_back_that_found_nothing_takes_nothing_when_it_is_sent_again(labels):
    assert not labels.ask("UndoPreference", labeler="ana", request_id="early").HasField("preference")
    labels.submit(1)
    assert not labels.ask("UndoPreference", labeler="ana", request_id="early").HasField("preference")
    assert len(labels.ask("ListPreferences").preferences) == 1


def test_a_label_that_is_only_tried_is_not_stored_nor_is_its_pair(labels):
    tried = labels.submit(1, validate_only=True, request_id="x")
    assert tried.comparison_id == pair(1).id and not labels.ask("ListPreferences").preferences
    assert not labels.ask("NextComparison", labeler="ana", objective="helpful").HasField("comparison")
    stored = labels.submit(1, request_id="x")
    assert labels.ask("UndoPreference", labeler="ana", validate_only=True).preference == stored
    assert len(labels.ask("ListPreferences").preferences) == 1
    with pytest.raises(InvalidInput):
        labels.submit(2, validate_only=True, objective="kindness")


def test_a_pair_is_labelled_by_its_resource_name(labels):
    labels.submit(1)
    name = labels.ask("NextComparison", labeler="bo", objective="helpful").comparison.name
    assert name == f"comparisons/{pair(1).id}"
    given = {"objective": "helpful", "labeler": "bo", "choice": "CHOICE_TIE"}
    assert labels.ask("SubmitPreference", comparison_id=name, **given).preference.comparison_id == pair(1).id
    with pytest.raises(InvalidInput) as caught:
        labels.ask("SubmitPreference", comparison_id="runs/r", **given)
    assert caught.value.field == "comparison_id"


def test_versions_and_reward_models_come_page_by_page_with_names_and_masks(served):
    connection = Connection(served.address)
    rewards = reward_pb2_grpc.RewardServiceStub(connection.channel)
    first = rewards.ListRewardModels(reward_pb2.ListRewardModelsRequest(page_size=1, run_id=f"runs/{served.run_id}"))
    with pytest.raises(InvalidInput):
        connection.call(rewards.ListRewardModels, reward_pb2.ListRewardModelsRequest(page_token=first.next_page_token))
    second = rewards.ListRewardModels(
        reward_pb2.ListRewardModelsRequest(
            page_token=first.next_page_token, run_id=f"runs/{served.run_id}", read_mask=FieldMask(paths=["name"])
        )
    )
    assert [model.id for model in first.reward_models] == ["reward-helpful"]
    assert list(second.reward_models) == [reward_pb2.RewardModel(name="rewardModels/reward-harmless")]
    assert second.next_page_token == ""
    asked = {"samples": [{"prompt": {"text": "?"}, "response": "yes"}], "reward_models": [second.reward_models[0].name]}
    assert rewards.Score(reward_pb2.ScoreRequest(**asked)).scores[0].reward_model == "reward-harmless"
    policies = policy_pb2_grpc.PolicyServiceStub(connection.channel)
    [version] = policies.ListPolicyVersions(policy_pb2.ListPolicyVersionsRequest(page_size=5)).policy_versions
    assert version.name == "policyVersions/policy-1"
    connection.close()
