"""The Python client: the core's interfaces over the wire, whole batches, and errors of the class that was raised."""

from __future__ import annotations

import json

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.load import builtin_text
from rlhf_core.errors import CharterError, Conflict, InvalidInput, NotFound, Unavailable
from rlhf_core.interfaces import Feedback, Sampler, Scorer
from rlhf_core.records.samples import BASE_POLICY, Comparison, Prompt, Sample
from services.client import policy
from services.client.client import CharterClient
from services.wire import batches

DRAIN = Prompt.of("How do I unclog the drain?")


def answers(*texts: str) -> list[Sample]:
    return [Sample(id=f"s-{text}", prompt=DRAIN, response=text, policy_version=BASE_POLICY) for text in texts]


def test_the_clients_are_sampler_feedback_and_scorer_of_a_run(served):
    sampler: Sampler = served.client.policy
    feedback: Feedback = served.client.critique.feedback("household")
    scorer: Scorer = served.client.reward
    constitution = served.client.critique.get_constitution("household").constitution
    principle = constitution.critiquing()[0]
    samples = sampler.generate([DRAIN], policy_version="policy-1", n=2, max_tokens=4, seed=1)
    critiques = feedback.critique([(sample, principle) for sample in samples])
    assert [critique.sample_id for critique in critiques] == [sample.id for sample in samples]
    both = zip(samples, critiques, strict=True)
    assert len(feedback.revise([(sample, critique, principle) for sample, critique in both])) == 2
    votes = feedback.compare([(Comparison.of(*samples, run_id="r"), principle)])
    assert [vote.judge for vote in votes] == [feedback.name] * 2
    assert [vote.run_id for vote in votes] == ["r"] * 2
    scores = scorer.score(samples, ["reward-harmless", "reward-helpful"])
    assert [score.objective for score in scores] == ["harmless"] * 2 + ["helpful"] * 2


def test_mixed_questions_are_answered_in_their_order_as_each_alone(served):
    feedback: Feedback = served.client.critique.feedback("household")
    one, two = served.client.critique.get_constitution("household").constitution.critiquing()[:2]
    first, second, third = answers("pour it out", "use a plunger", "wait")
    asked = [(first, one), (second, two), (third, one)]
    critiques = feedback.critique(asked)
    told = [(critique.sample_id, critique.principle_id) for critique in critiques]
    assert told == [(sample.id, principle.id) for sample, principle in asked]
    items = [(sample, critique, principle) for (sample, principle), critique in zip(asked, critiques, strict=True)]
    assert feedback.revise(items) == [text for item in items for text in feedback.revise([item])]
    left, right = Comparison.of(first, second, "r"), Comparison.of(second, third, "r")
    # The same two texts twice, side by side, and a pair that is asked about under fewer principles.
    questions = [(left, one), (left, two), (left.model_copy(), one), (right, two), (right.model_copy(), one)]
    votes = feedback.compare(questions)
    assert [(vote.comparison_id, vote.principle_id, vote.swapped) for vote in votes] == [
        (pair.id, principle.id, swapped) for pair, principle in questions for swapped in (False, True)
    ]
    assert [vote.id for vote in votes] == [vote.id for question in questions for vote in feedback.compare([question])]


def test_a_constitution_over_the_wire_keeps_its_hash(served):
    shown = served.client.critique.get_constitution("household")
    assert shown.constitution.hash == served.client.critique.get_constitution(shown.constitution.hash).constitution.hash
    checked = served.client.critique.check_constitution(shown.yaml_text)
    assert checked.constitution is not None
    assert checked.constitution.model_copy(update={"files": shown.constitution.files}) == shown.constitution
    assert served.client.critique.check_constitution("x: 1", "mine.yaml").problems[0].file == "mine.yaml"


def test_batches_cut_small_give_the_same_answers(served, monkeypatch):
    prompts = [Prompt.of(f"Question {i % 5}?") for i in range(12)]
    whole = served.client.policy.generate(prompts, n=2, max_tokens=4, seed=2)
    for module in (policy, batches):
        monkeypatch.setattr(module, "MAX_BATCH_BYTES", 200)
    cut = served.client.policy.generate(prompts, n=2, max_tokens=4, seed=2)
    assert [(s.id, s.response) for s in cut] == [(s.id, s.response) for s in whole]
    assert len({sample.id for sample in whole}) == 24
    assert [s.prompt.id for s in cut] == [p.id for p in prompts for _ in range(2)]
    samples = answers(*map(str, range(20)))
    assert [score.sample_id for score in served.client.reward.score(samples, ["reward-helpful"])] == [
        sample.id for sample in samples
    ]


def test_no_prompts_give_no_samples_and_no_samples_no_scores(served):
    assert served.client.policy.generate([]) == []
    assert served.client.reward.score([], ["reward-helpful"]) == []


def test_a_stream_ends_with_the_whole_sample(served):
    pieces = list(served.client.policy.generate_stream(DRAIN, max_tokens=12, seed=4))
    [sample] = served.client.policy.generate([DRAIN], max_tokens=12, seed=4)
    assert pieces[-1].sample is not None and pieces[-1].sample.id == sample.id
    assert "".join(piece.text for piece in pieces) == sample.response


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (lambda c: c.policy.generate([DRAIN], n=300), "n"),
        (lambda c: c.policy.generate([DRAIN], temperature=float("nan")), "temperature"),
        (lambda c: c.policy.generate([DRAIN], max_tokens=-1), "max_tokens"),
        (lambda c: c.preference.next_comparison("a:b", "helpful"), "labeler"),
        (lambda c: c.preference.next_comparison("ana", "kindness"), "objective"),
        (lambda c: c.trainer.create_run(RunConfig(weights={"helpfull": 1.0})), "weights.helpfull"),
        (lambda c: c.trainer.create_run(RunConfig(kind="ppo")), "from_run"),
        (lambda c: c.trainer.create_run(RunConfig(), "id: ["), "constitution"),
        (lambda c: c.trainer.list_runs(page_token="x"), "page_token"),
    ],
)
def test_a_mistake_comes_back_with_its_field(served, ask, field):
    with pytest.raises(InvalidInput) as caught:
        ask(served.client)
    assert caught.value.field == field
    assert len(str(caught.value)) > 10


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.policy.generate([DRAIN], policy_version="policy-99"),
        lambda c: c.reward.score(answers("x"), ["reward-99"]),
        lambda c: c.trainer.get_run("run-99"),
        lambda c: c.trainer.get_report("../../etc"),
        lambda c: list(c.trainer.watch_run("run-99")),
        lambda c: c.critique.get_constitution("0123456789abcdef"),
        lambda c: c.preference.submit_preference("pair-99", objective="helpful", labeler="ana", choice="a"),
    ],
)
def test_what_is_not_there_is_not_found(served, ask):
    with pytest.raises(NotFound):
        ask(served.client)


def test_a_prompt_beyond_the_context_is_refused_with_both_lengths(served):
    with pytest.raises(InvalidInput, match="4096"):
        served.client.policy.generate([Prompt.of("x" * 5000)])


def test_a_request_id_used_for_another_thing_is_a_conflict(served):
    served.client.trainer.create_run(RunConfig(constitution="household", seed=1), request_id="same")
    with pytest.raises(Conflict):
        served.client.trainer.create_run(RunConfig(constitution="household", seed=2), request_id="same")


def test_no_server_is_unavailable_and_names_the_address(tmp_path):
    with (
        CharterClient.connect(f"unix:{tmp_path}/nobody.sock", timeout_seconds=10) as client,
        pytest.raises(Unavailable, match=r"nobody\.sock"),
    ):
        client.trainer.list_runs()


def test_a_late_answer_is_unavailable(served):
    with (
        CharterClient.connect(served.address, timeout_seconds=0.05) as client,
        pytest.raises(Unavailable, match="in time"),
    ):
        client.policy.generate([DRAIN] * 4, n=32, temperature=0.5, max_tokens=2000)


def test_a_file_of_this_machine_travels_as_text(served, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(builtin_text("household").replace("version:", "# edited\nversion:", 1))
    checked = served.client.trainer.create_run(RunConfig(constitution=str(mine)), validate_only=True)
    assert checked.id == "" and checked.constitution_hash
    assert json.loads(checked.config)["weights"] == {"helpful": 1.0, "harmless": 1.0}
    with pytest.raises(InvalidInput, match="constitution_yaml"):
        served.client.trainer.create_run(RunConfig(constitution="no-such-name"))


def test_a_model_setting_of_the_process_cannot_be_changed_by_a_run(served, model_config):
    own = RunConfig(constitution="household", model=model_config.model_copy(update={"max_tokens": 5}))
    resolved = RunConfig.model_validate_json(served.client.trainer.create_run(own, validate_only=True).config)
    assert resolved.model == own.model
    other = RunConfig(constitution="household", model=model_config.model_copy(update={"dtype": "bfloat16"}))
    with pytest.raises(InvalidInput) as caught:
        served.client.trainer.create_run(other)
    assert caught.value.field == "model.dtype"


def test_a_label_of_a_stored_pair_and_all_pages_of_labels(served):
    pair = Comparison.of(*answers("one", "two"), run_id="")
    stored = served.client.preference.submit_preference(pair, objective="helpful", labeler="bo", choice="tie")
    again = served.client.preference.submit_preference(pair.id, objective="harmless", labeler="bo", choice="b")
    assert (stored.probability, again.probability) == (0.5, 0.0)
    mine = [label for label in served.client.preference.list_preferences() if label.labeler == "human:bo"]
    assert [label.id for label in mine] == [stored.id, again.id]
    assert served.client.preference.undo_preference("bo") == again
    assert served.client.preference.undo_preference("bo") == stored


def test_runs_are_listed_page_by_page(served):
    for seed in (101, 102, 103):
        served.client.trainer.create_run(RunConfig(constitution="household", seed=seed))
    first = served.client.trainer.list_runs(page_size=2)
    second = served.client.trainer.list_runs(2, first.next_page_token)
    seeds = [RunConfig.model_validate_json(run.config).seed for run in (*first.runs, *second.runs)]
    assert seeds[:3] == [103, 102, 101]


def test_every_error_class_survives_the_wire(served):
    from services.wire.status import KINDS, status_of

    assert {kind.error for kind in KINDS} >= set(CharterError.__subclasses__()) - _of_other_folders()
    assert status_of(InvalidInput("x" * 10_000, "f")).details.endswith("...")


def _of_other_folders() -> set[type]:
    return {kind for kind in CharterError.__subclasses__() if kind.__module__ != "rlhf_core.errors"}
