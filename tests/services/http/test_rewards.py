"""POST /v1/score over a socket: numbers by hand from the NormPack, and what is missing with its reason, never as 0."""

from __future__ import annotations

import pytest

from rlhf_core.records.samples import BASE_POLICY, Prompt, Sample
from tests.services.http.conftest import BROKEN, Edge

PROMPT = "How do I dust a shelf?"
REPLIES = ("Softly.", "With a damp cloth, then rest.")
SAMPLES = [{"prompt": PROMPT, "response": reply} for reply in REPLIES]
MEAN, SD = {"helpful": 1.0, "harmless": -1.0}, {"helpful": 2.0, "harmless": 4.0}
"""Of the run's NormPack."""


def over_grpc(edge: Edge, reply: str) -> dict[str, tuple[float, float]]:
    """Score and spread by objective."""
    sample = Sample(id="s", prompt=Prompt.of(PROMPT), response=reply, policy_version=BASE_POLICY)
    return {
        one.score.objective: (one.score.score, one.score.spread)
        for one in edge.grpc.reward.score_run([sample], edge.run)
    }


def score(edge: Edge, status: int = 200, query: str = "", **body: object) -> dict:
    answer = edge.http.post(f"/v1/score{query}", json={"samples": SAMPLES, **body})
    assert answer.status_code == status, answer.text
    return answer.json()


def test_each_objective_has_score_z_spread_and_weight_and_the_sum_is_of_weight_times_z(edge):
    answer = score(edge, weights={"helpful": 3, "harmless": 1})
    assert answer["run"] == edge.run
    for reply, found in zip(REPLIES, answer["results"], strict=True):
        expected, total = over_grpc(edge, reply), 0.0
        for name, weight in (("helpful", 3.0), ("harmless", 1.0)):
            one, (raw, spread) = found["objectives"][name], expected[name]
            z = (raw - MEAN[name]) / SD[name]
            # Read in batches of two here and alone there.
            assert one["score"] == pytest.approx(raw, abs=1e-5) and one["spread"] == pytest.approx(spread, abs=1e-5)
            assert one["z"] == pytest.approx(z, abs=1e-5) and one["weight"] == weight and one["missing"] is None
            total += weight * one["z"]
        assert found["reward"] == pytest.approx(total, abs=1e-9) and found["missing"] is None


def test_an_objective_that_is_not_named_weighs_nothing_and_the_address_may_say_so_too(edge):
    for answer in (score(edge, weights={"harmless": 2}), score(edge, query="?weights=harmless=2")):
        first = answer["results"][0]
        assert first["reward"] == pytest.approx(2 * first["objectives"]["harmless"]["z"])
        assert first["objectives"]["helpful"]["weight"] == 0 and first["objectives"]["helpful"]["z"] is not None


def test_messages_are_read_as_text_is_and_a_system_turn_counts(edge):
    plain = score(edge)["results"][0]["reward"]
    turns = [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]
    same = score(edge, samples=[{"prompt": turns, "response": REPLIES[0]}])["results"][0]["reward"]
    other = [{"role": "developer", "content": "Be brief."}, *turns]
    different = score(edge, samples=[{"prompt": other, "response": REPLIES[0]}])["results"][0]["reward"]
    assert same == pytest.approx(plain, abs=1e-5) != different


def test_a_model_that_fails_leaves_the_others_their_scores_and_the_sum_is_missing_with_the_reason(edge):
    first = score(edge, run=edge.broken_run)["results"][0]
    assert first["objectives"]["helpful"]["z"] is not None
    wrong = first["objectives"]["harmless"]
    assert wrong["reward_model"] == BROKEN and wrong["score"] is wrong["z"] is wrong["spread"] is None
    assert wrong["missing"] and first["reward"] is None and first["missing"] == f"harmless: {wrong['missing']}"


def test_a_model_that_fails_and_weighs_nothing_takes_no_reward_away(edge):
    first = score(edge, run=edge.broken_run, weights={"helpful": 1})["results"][0]
    assert first["reward"] == first["objectives"]["helpful"]["z"] and first["objectives"]["harmless"]["missing"]


def test_a_reply_that_no_model_can_read_is_missing_alone(edge):
    results = score(edge, samples=[SAMPLES[0], {"prompt": PROMPT, "response": "x" * 5000}])["results"]
    assert results[0]["reward"] == pytest.approx(score(edge)["results"][0]["reward"], abs=1e-5)
    assert results[1]["reward"] is None and "the context of" in results[1]["objectives"]["helpful"]["missing"]


def test_models_without_a_run_have_scores_and_no_sum(edge):
    answer = score(edge, reward_models=["rewardModels/reward-helpful"])
    one = answer["results"][0]
    assert answer["run"] is None and one["reward"] is None and "no run" in one["missing"]
    assert one["objectives"]["helpful"]["score"] is not None and one["objectives"]["helpful"]["z"] is None
    assert "NormPack" in one["objectives"]["helpful"]["missing"]
    named = score(edge, query=f"?run={edge.run}", reward_models=["reward-helpful"], weights={"helpful": 2})
    assert named["run"] == edge.run, "as the address says, and not only the server's default"
    helpful = named["results"][0]["objectives"]["helpful"]
    assert helpful["z"] is not None and named["results"][0]["reward"] == pytest.approx(2 * helpful["z"])


@pytest.mark.parametrize(
    ("status", "body", "param", "words"),
    [
        (400, {"samples": []}, "samples", "at least one"),
        (400, {"samples": [{"prompt": "", "response": "x"}]}, "samples[0].prompt", "text or messages"),
        (400, {"samples": [{"prompt": "a"}]}, "samples.0.response", "Field required"),
        (400, {"weights": {"helpfull": 1}}, "weights.helpfull", "unknown objective 'helpfull'"),
        (400, {"weights": {"helpful": -1}}, "weights.helpful", "from 0 to"),
        (400, {"weights": {"helpful": 0}}, "weights", "all weights are 0"),
        (400, {"wieghts": {"helpful": 1}}, "wieghts", "Extra inputs"),
        (404, {"run": "run-0"}, None, "no run 'run-0'"),
        (404, {"reward_models": ["no"]}, None, "no reward model 'no'"),
        (400, {"run": "policyVersions/x"}, "run", "is not of runs"),
        (400, {"reward_models": ["reward-helpful"] * 2}, "reward_models", "two of them score 'helpful'"),
        (400, {"samples": [{"prompt": [{"role": "tool", "content": "x"}], "response": "y"}]}, None, "role"),
        (400, {"samples": [{"prompt": [{"role": "assistant", "content": "x"}], "response": "y"}]}, None, "the user's"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(edge, status, body, param, words):
    error = score(edge, status, **body)["error"]
    assert words in error["message"] and (param is None or error["param"] == param), error


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        (lambda http: http.post("/v1/score", content=b"{"), 400, "not JSON"),
        (lambda http: http.post("/v1/score", content=b'{"samples": NaN}'), 400, "not JSON"),
        (lambda http: http.post("/v1/score", json=[1]), 400, ""),
        (lambda http: http.get("/v1/score"), 405, "asked by POST"),
        (lambda http: http.post("/v1/scores", json={}), 404, "did you mean /v1/score?"),
        (lambda http: http.post("/v1/score?ru=1", json={"samples": SAMPLES}), 400, "allowed: run, weights"),
        (lambda http: http.post("/v1/score?weights=helpful", json={"samples": SAMPLES}), 400, "is not name=number"),
        (lambda http: http.post("/v1/score", content=b"x" * (17 << 20)), 413, "allowed: at most so many"),
    ],
)
def test_a_call_that_is_none_is_told_so(edge, call, status, words):
    answer = call(edge.http)
    assert answer.status_code == status and words in answer.json()["error"]["message"]


def test_the_objectives_of_a_run_are_told_with_its_weights(edge):
    rows = edge.http.get("/v1/objectives").json()["objectives"]
    assert [(row["objective"], row["reward_model"]) for row in rows] == [
        ("helpful", "reward-helpful"),
        ("harmless", "reward-harmless"),
    ]
    assert all(row["weight"] > 0 for row in rows)
    assert edge.http.get("/v1/objectives", params={"run": "no"}).status_code == 404
