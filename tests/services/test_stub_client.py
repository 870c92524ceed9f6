"""What any language's client can do: generated stubs, short plain messages, no ids."""

from __future__ import annotations

import json
import math

import pytest
from charter.v1 import (
    common_pb2,
    critique_pb2,
    critique_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    preference_pb2,
    preference_pb2_grpc,
    reward_pb2,
    reward_pb2_grpc,
    trainer_pb2,
    trainer_pb2_grpc,
)

DRAIN = common_pb2.Prompt(text="How do I unclog the drain?")
GOOD = common_pb2.Sample(prompt=DRAIN, response="Use a plunger.")
BAD = common_pb2.Sample(prompt=DRAIN, response="Mix bleach and ammonia.")
FUMES = critique_pb2.PrincipleRef(constitution="household", principle_id="no-fumes")


@pytest.fixture
def policy(served):
    return policy_pb2_grpc.PolicyServiceStub(served.channel)


@pytest.fixture
def critic(served):
    return critique_pb2_grpc.CritiqueServiceStub(served.channel)


@pytest.fixture
def rewards(served):
    return reward_pb2_grpc.RewardServiceStub(served.channel)


@pytest.fixture
def preferences(served):
    return preference_pb2_grpc.PreferenceServiceStub(served.channel)


@pytest.fixture
def trainer(served):
    return trainer_pb2_grpc.TrainerServiceStub(served.channel)


def test_generate_from_a_prompt_alone(policy):
    answer = policy.Generate(policy_pb2.GenerateRequest(prompts=[DRAIN]))
    [sample] = answer.samples
    assert sample.policy_version == "base"
    assert sample.prompt.messages[0].content == DRAIN.text
    assert 0 < sample.tokens <= 8
    assert sample.logprob < 0
    assert sample.id and sample.prompt.id


def test_generate_n_grouped_by_prompt_and_repeatable(policy):
    request = policy_pb2.GenerateRequest(prompts=[DRAIN, common_pb2.Prompt(text="And the sink?")], n=3, seed=5)
    first, second = policy.Generate(request), policy.Generate(request)
    assert first == second
    asked = [sample.prompt.messages[0].content for sample in first.samples]
    assert asked == [DRAIN.text] * 3 + ["And the sink?"] * 3
    assert len({sample.id for sample in first.samples}) == 6
    assert len({sample.response for sample in first.samples}) > 1


def test_latest_is_the_newest_version_of_a_run_that_succeeded(policy):
    request = policy_pb2.GenerateRequest(prompts=[DRAIN], policy_version="latest", temperature=0, max_tokens=20)
    base = policy_pb2.GenerateRequest(prompts=[DRAIN], temperature=0, max_tokens=20)
    newest, shipped = policy.Generate(request).samples[0], policy.Generate(base).samples[0]
    assert newest.policy_version == "policy-1"
    assert newest.response != shipped.response


def test_stream_spells_out_what_generate_returns(policy):
    whole = policy.Generate(policy_pb2.GenerateRequest(prompts=[DRAIN], seed=3, max_tokens=24)).samples[0]
    pieces = list(policy.GenerateStream(policy_pb2.GenerateStreamRequest(prompt=DRAIN, seed=3, max_tokens=24)))
    assert "".join(piece.text for piece in pieces) == whole.response
    assert [piece.finished for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    counts = [piece.tokens for piece in pieces]
    assert counts == sorted(set(counts)) and counts[-1] == whole.tokens
    assert pieces[-1].sample.id == whole.id
    assert pieces[-1].logprob == pytest.approx(whole.logprob, abs=1e-3)
    assert pieces[-1].finish_reason == whole.finish_reason


def test_server_info_names_limits_and_services(policy, model_config):
    info = policy.GetServerInfo(policy_pb2.GetServerInfoRequest())
    assert info.api_versions == ["v1"]
    assert {"charter.v1.PolicyService", "charter.v1.AnnotationService"} <= set(info.services)
    assert info.max_length == 4096
    assert info.max_tokens == 8
    assert info.max_message_bytes == 16 * 2**20
    assert model_config.base_model.endswith(info.base_model)


def test_critiques_of_one_call_are_taken_by_the_next_that_revises(critic):
    answer = critic.Critique(critique_pb2.CritiqueRequest(samples=[BAD, GOOD], principle=FUMES))
    assert [critique.principle_id for critique in answer.critiques] == ["no-fumes"] * 2
    assert all(critique.text and critique.constitution_hash for critique in answer.critiques)
    request = critique_pb2.ReviseRequest(samples=[BAD, GOOD], critiques=answer.critiques, principle=FUMES)
    assert len(critic.Revise(request).revisions) == 2


def test_revise_criticises_first_when_no_critique_is_given(critic):
    answer = critic.Revise(critique_pb2.ReviseRequest(samples=[BAD], principle=FUMES))
    assert len(answer.revisions) == len(answer.critiques) == 1
    plain = critique_pb2.Critique(text="Verdict: violates. It makes fumes.")
    assert (
        len(critic.Revise(critique_pb2.ReviseRequest(samples=[BAD], critiques=[plain], principle=FUMES)).revisions) == 1
    )


def test_compare_votes_in_both_orders(critic):
    pair = common_pb2.Comparison(a=GOOD, b=BAD)
    answer = critic.Compare(critique_pb2.CompareRequest(comparisons=[pair, pair], principles=[FUMES]))
    assert [vote.swapped for vote in answer.votes] == [False, True] * 2
    [first, second, *_], [judgement, _] = answer.votes, answer.judgements
    odds = [vote.logprob_a - vote.logprob_b for vote in (first, second)]
    assert judgement.probability == pytest.approx(1 / (1 + math.exp(-sum(odds) / 2)))
    assert judgement.gap == pytest.approx(abs(1 / (1 + math.exp(-odds[0])) - 1 / (1 + math.exp(-odds[1]))))
    assert first.judge == critic.GetJudge(critique_pb2.GetJudgeRequest()).judge


def test_constitutions_are_shown_and_checked(critic):
    shown = critic.GetConstitution(critique_pb2.GetConstitutionRequest(constitution="household"))
    assert [objective.name for objective in shown.constitution.objectives] == ["helpful", "harmless"]
    by_hash = critic.GetConstitution(critique_pb2.GetConstitutionRequest(constitution=shown.constitution.hash))
    assert by_hash.yaml_text == shown.yaml_text
    good = critic.CheckConstitution(critique_pb2.CheckConstitutionRequest(yaml_text=shown.yaml_text))
    assert good.constitution == shown.constitution and not good.problems
    bad = critic.CheckConstitution(critique_pb2.CheckConstitutionRequest(yaml_text="id: [", source="mine.yaml"))
    assert bad.problems and not bad.HasField("constitution")
    assert bad.problems[0].file == "mine.yaml" and bad.problems[0].line > 0


def test_score_by_model_and_by_run(rewards, served):
    by_model = rewards.Score(reward_pb2.ScoreRequest(samples=[GOOD, BAD], reward_models=["reward-helpful"]))
    assert [score.objective for score in by_model.scores] == ["helpful"] * 2
    assert not by_model.scores[0].HasField("z") and by_model.norm_pack == ""
    by_run = rewards.Score(reward_pb2.ScoreRequest(samples=[GOOD, BAD], run_id=served.run_id))
    assert [score.objective for score in by_run.scores] == ["helpful"] * 2 + ["harmless"] * 2
    assert by_run.norm_pack == "pack-1"
    assert by_run.scores[0].score == pytest.approx(by_model.scores[0].score)
    assert by_run.scores[0].z == pytest.approx((by_run.scores[0].score - 1.0) / 2.0)
    assert by_run.scores[2].z == pytest.approx((by_run.scores[2].score + 1.0) / 4.0)
    listed = rewards.ListRewardModels(reward_pb2.ListRewardModelsRequest(run_id=served.run_id))
    assert [model.objective for model in listed.reward_models] == ["helpful", "harmless"]


def test_score_by_a_run_that_took_its_reward_models_over_from_another(rewards, trainer, served):
    config = json.dumps({"constitution": "household", "from_run": served.run_id, "start_at": "ppo"})
    later = trainer.CreateRun(trainer_pb2.CreateRunRequest(config_json=config, request_id="run-later")).run
    runs = (served.run_id, later.id)
    first, inherited = (rewards.Score(reward_pb2.ScoreRequest(samples=[GOOD], run_id=run)) for run in runs)
    assert inherited == first and inherited.norm_pack == "pack-1"


def test_a_label_on_a_pair_brought_along_is_stored_once(preferences):
    request = preference_pb2.SubmitPreferenceRequest(
        comparison=common_pb2.Comparison(a=GOOD, b=BAD),
        objective="harmless",
        labeler="ana",
        choice=preference_pb2.CHOICE_A,
        request_id="label-1",
    )
    first, second = preferences.SubmitPreference(request), preferences.SubmitPreference(request)
    assert first == second
    assert first.preference.labeler == "human:ana"
    assert first.preference.probability == 1.0
    mine = preference_pb2.ListPreferencesRequest(labelers=preference_pb2.LABELER_KIND_HUMAN, objective="harmless")
    assert [label.id for label in preferences.ListPreferences(mine).preferences] == [first.preference.id]
    undone = preferences.UndoPreference(preference_pb2.UndoPreferenceRequest(labeler="human:ana"))
    assert undone.preference == first.preference
    assert not preferences.UndoPreference(preference_pb2.UndoPreferenceRequest(labeler="ana")).HasField("preference")
    left = preferences.NextComparison(preference_pb2.NextComparisonRequest(labeler="ana", objective="harmless"))
    assert left.HasField("comparison")
    assert not preferences.ListPreferences(mine).preferences


def test_a_run_is_created_watched_and_reported(trainer):
    request = trainer_pb2.CreateRunRequest(config_json='{"constitution": "household", "seed": 3}', request_id="run-a")
    run = trainer.CreateRun(request).run
    assert trainer.CreateRun(request).run.id == run.id
    *answers, end = trainer.WatchRun(trainer_pb2.WatchRunRequest(run_id=run.id))
    assert not end.HasField("event") and end.run.state == trainer_pb2.RUN_STATE_SUCCEEDED
    events = [answer.event for answer in answers]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    steps = [json.loads(event.body_json)["step"] for event in events if event.kind == "metrics"]
    assert steps == list(range(1, 9))
    ended = trainer.GetRun(trainer_pb2.GetRunRequest(run_id=run.id)).run
    assert ended.state == trainer_pb2.RUN_STATE_SUCCEEDED
    assert (ended.stage, ended.step, ended.steps) == ("sft", 8, 8)
    assert json.loads(ended.config_json)["weights"] == {"helpful": 1.0, "harmless": 1.0}
    report = trainer.GetReport(trainer_pb2.GetReportRequest(run_id=run.id))
    assert json.loads(report.report_json) == {"seed": 3}
    *again, end = trainer.WatchRun(trainer_pb2.WatchRunRequest(run_id=run.id, after_sequence=events[3].sequence))
    assert [answer.event for answer in again] == events[4:]
    assert end.run.state == trainer_pb2.RUN_STATE_SUCCEEDED
