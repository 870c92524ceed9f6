"""Critics and judges that are not the policy: a folder of the Hugging Face kind, and an endpoint over a real socket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlhf_core.config.feedback import BackendConfig, FeedbackConfig
from rlhf_core.config.run import LoraConfig, ModelConfig, RunConfig
from rlhf_core.errors import InvalidInput, Unavailable
from rlhf_core.records.feedback import Vote
from rlhf_core.records.samples import Comparison, Prompt, Sample
from services.cli.main import app
from services.cli.preflight import plan_run
from services.client.client import CharterClient
from services.embedded import embedded_server
from services.serving.endpoints import connect
from tests.conftest import save_model, save_tokenizer
from tests.endpoint import Reply, Request, Script, Served, fails, in_turn, says, served

KEY = "sk-very-secret"
NO_SHOCK = "no-shock"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two tiny models of random weights: one to answer, one to judge."""
    folders = {}
    for seed, name in enumerate(("answerer", "other-judge")):
        folders[name] = tmp_path_factory.mktemp("models") / name
        folders[name].mkdir()
        save_model(folders[name], "llama", seed=seed, context=4096)
        save_tokenizer(folders[name])
    return folders


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@contextmanager
def client_of(models: dict[str, Path], data: Path, **feedback: object) -> Iterator[CharterClient]:
    model = ModelConfig(
        base_model=str(models["answerer"]), threads=1, feedback_tokens=8, lora=LoraConfig(rank=4, alpha=8)
    )
    config = FeedbackConfig.model_validate(feedback)
    with (
        embedded_server(data, model, feedback=config, works=False) as address,
        CharterClient.connect(address) as client,
    ):
        yield client


def judge(server: Served, **settings: object) -> dict[str, object]:
    return {"model": "openai:tiny", "protocol": "logprobs", "endpoint": {"base_url": server.url}, **settings}


def pair() -> Comparison:
    prompt = Prompt.of("How do I mend a lamp?")
    a, b = (
        Sample(id=text, prompt=prompt, response=text, policy_version="base")
        for text in ("Pull the plug first.", "Grip the bare wires.")
    )
    return Comparison.of(a, b, "run-1")


def votes_of(client: CharterClient) -> list[Vote]:
    feedback = client.critique.feedback("household")
    principle = client.critique.get_constitution("household").constitution.principle(NO_SHOCK)
    votes = feedback.compare([(pair(), principle)])
    assert {vote.judge for vote in votes} == {feedback.name}
    assert {vote.template_hash for vote in votes} == {feedback.template_hash}
    return votes


def careful(request: Request, _: int) -> Reply:
    """A judge that prefers the reply with a plug in it, at 9 to 1."""
    likely = "A" if "plug" in request.asked.split("Reply B:")[0] else "B"
    return says(likely, {likely: 0.9, "AB".replace(likely, ""): 0.1})


def test_a_folder_of_the_hugging_face_kind_judges_by_each_protocol(tmp_path: Path, models: dict[str, Path]):
    seen = {}
    for protocol in ("logprobs", "cot", "text"):
        with client_of(models, tmp_path, judge={"model": str(models["other-judge"]), "protocol": protocol}) as client:
            seen[protocol] = votes_of(client)
            assert client.critique.feedback("household").critic_name.startswith("answerer@")
    for protocol, votes in seen.items():
        assert [vote.protocol for vote in votes] == [protocol] * 2
        assert {vote.judge.split("@")[0] for vote in votes} == {"other-judge"}
    assert all(vote.text == "" and 0 < vote.label_mass < 1 for vote in seen["logprobs"])
    assert all(vote.text and 0 < vote.label_mass < 1 for vote in seen["cot"])
    # A model of random weights says nothing that can be read.
    assert all((vote.reason, vote.label_mass) == ("no_choice", 0.0) for vote in seen["text"])
    assert len({vote.id for votes in seen.values() for vote in votes}) == 6


def test_the_policy_and_another_model_differ_in_the_revision_of_their_votes(tmp_path: Path, models: dict[str, Path]):
    with client_of(models, tmp_path) as client:
        own = client.critique.feedback("household")
        assert own.name == own.critic_name
    with client_of(models, tmp_path, judge={"model": str(models["answerer"])}) as client:
        assert client.critique.feedback("household").name == own.name
    with client_of(models, tmp_path, critic={"model": str(models["other-judge"])}) as client:
        mixed = client.critique.feedback("household")
        assert mixed.name == own.name and mixed.critic_name.startswith("other-judge@")


def test_an_endpoint_judges_in_both_orders_and_sends_its_bill(tmp_path: Path, models: dict[str, Path]):
    with served(careful) as server, client_of(models, tmp_path, judge=judge(server)) as client:
        feedback = client.critique.feedback("household")
        principle = client.critique.get_constitution("household").constitution.principle(NO_SHOCK)
        first, second = feedback.compare([(pair(), principle)])
        assert first.judge == f"openai:tiny-1@{server.url.split('/')[2]}"
        for vote in (first, second):
            assert (vote.protocol, vote.reason) == ("logprobs", "")
            assert vote.logprob_a - vote.logprob_b == pytest.approx(2.1972, abs=1e-4)  # log 9
        assert (feedback.usage.requests, feedback.usage.prompt_tokens, feedback.usage.completion_tokens) == (2, 200, 20)
        assert all(request.key == f"Bearer {KEY}" for request in server.requests)


def test_an_endpoint_without_log_probabilities_is_asked_for_words(tmp_path: Path, models: dict[str, Path]):
    def words(request: Request, _: int) -> Reply:
        a, b = request.asked.split("Reply B:") if "Reply B:" in request.asked else ("", "")
        return says("Thinking.\nBetter: " + ("A" if "plug" in a else "B" if "plug" in b else "tie"))

    with served(words) as server, client_of(models, tmp_path, judge=judge(server)) as client:
        votes = votes_of(client)
        assert [vote.protocol for vote in votes] == ["text", "text"]
        assert [round(vote.logprob_a - vote.logprob_b, 4) for vote in votes] == [1.3863, 1.3863]
        assert all(vote.text.startswith("Thinking.") for vote in votes)


def test_a_judge_that_refuses_abstains_and_says_so(tmp_path: Path, models: dict[str, Path]):
    refusal = json.dumps({"choices": [{"message": {"content": None, "refusal": "I'm sorry, I can't help."}}]})
    with (
        served(in_turn([Reply(200, refusal.encode())])) as server,
        client_of(models, tmp_path, judge=judge(server, protocol="text")) as client,
    ):
        for vote in votes_of(client):
            assert (vote.reason, vote.label_mass, vote.logprob_a) == ("refusal", 0.0, vote.logprob_b)
            assert vote.text == "I'm sorry, I can't help."


def test_an_endpoint_that_breaks_down_is_one_clear_error_at_the_client(tmp_path: Path, models: dict[str, Path]):
    replies = [says("A", {"A": 0.5, "B": 0.5}), fails(503, "overloaded")]
    with (
        served(in_turn(replies)) as server,
        client_of(models, tmp_path, judge=judge(server, endpoint={"base_url": server.url, "retries": 0})) as client,
        pytest.raises(Unavailable, match=r"openai:tiny-1@127.0.0.1:\d+: 503: overloaded \(1 try\)"),
    ):
        votes_of(client)
    assert len(server.requests) <= 3, "the caller does not try again what the server has tried"


def test_a_run_may_not_bring_a_judge_that_its_server_has_not(tmp_path: Path, models: dict[str, Path]):
    with client_of(models, tmp_path) as client:
        asked = RunConfig.model_validate({"feedback": {"judge": {"model": "openai:tiny"}}})
        with pytest.raises(InvalidInput, match=r"feedback\.judge: the run asks for model 'openai:tiny', this server"):
            client.trainer.create_run(asked)


def endpoint_options(url: str, **settings: str) -> list[str]:
    values = {"feedback.judge.model": "openai:tiny", "feedback.judge.endpoint.base_url": url, **settings}
    return [f"{name}={value}" for name, value in values.items()]


def test_a_run_with_a_wrong_endpoint_is_refused_in_one_line_before_a_model_loads(monkeypatch: pytest.MonkeyPatch):
    with (
        served(in_turn([fails(404, "no such model")])) as server,
        pytest.raises(InvalidInput, match=r"^feedback\.judge: openai:tiny@.*no model 'tiny'"),
    ):
        plan_run("", endpoint_options(server.url), "", None, local=True)
    with pytest.raises(Unavailable, match=r"^feedback\.judge: openai:tiny@127\.0\.0\.1:9: cannot be reached"):
        plan_run("", endpoint_options("http://127.0.0.1:9/v1"), "", None, local=True)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InvalidInput, match=r"^feedback\.judge\.endpoint\.key_env: .* OPENAI_API_KEY is not set"):
        plan_run("", endpoint_options("http://127.0.0.1:9/v1"), "", None, local=True)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("feedback.judge.endpoint.base_url=https://me:secret@host/v1", "would be stored; name the key in key_env"),
        ("feedback.judge.endpoint.base_url=host/v1", "is not an address"),
        ("feedback.judge.endpoint.key_env=sk-1234", "not the name of an environment variable"),
        ("feedback.judge.model='openai:'", "names no model"),
        ("feedback.judge.model=./nowhere", r"feedback\.judge\.model: no folder"),
    ],
)
def test_a_judge_that_cannot_be_is_told_where_it_is_written(setting: str, told: str):
    with pytest.raises(InvalidInput, match=told):
        plan_run("", [setting], "", None, local=True)


def test_a_key_that_is_no_key_is_not_sent_and_not_shown():
    config = BackendConfig(model="openai:tiny")
    with pytest.raises(InvalidInput, match="characters that no key has") as caught:
        connect(config, "feedback.judge", {"OPENAI_API_KEY": "sk-1\n2"})
    assert "sk-1" not in str(caught.value)


def test_a_missing_package_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("services.serving.endpoints.util.find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"pip install -e '\.\[openai\]'"):
        connect(BackendConfig(model="openai:tiny"), "feedback.judge")


def test_the_doctor_asks_the_endpoints_of_a_run(tmp_path: Path):
    scripts: dict[str, Script] = {
        "gives log-probabilities": in_turn([says("A", {"A": 0.9, "B": 0.1})]),
        "asked for text": in_turn([says("A")]),
        "refuses the key in OPENAI_API_KEY": in_turn([fails(401, f"bad key {KEY}")]),
    }
    for told, script in scripts.items():
        with served(script) as server:
            file = tmp_path / "run.yaml"
            file.write_text(f"feedback: {{judge: {{model: 'openai:tiny', endpoint: {{base_url: '{server.url}'}}}}}}")
            result = CliRunner().invoke(app, ["doctor", "-c", str(file), "--data", str(tmp_path), "--json"])
        [check] = [check for check in json.loads(result.stdout)["checks"] if check["name"] == "judge"]
        assert told in check["detail"] and KEY not in result.output
        assert result.exit_code == (4 if check["level"] == "fail" else 0)


@pytest.mark.slow
def test_a_cancelled_run_does_not_wait_for_a_slow_endpoint(tmp_path: Path, models: dict[str, Path]):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"How do I wash cup {n}?"}) + "\n" for n in range(40)))
    with served(lambda _, number: says("fine")._replace(wait_seconds=0.3 if number else 0)) as server:
        critic = {"model": "openai:tiny", "endpoint": {"base_url": server.url, "concurrency": 1}}
        config = RunConfig.model_validate(
            {
                "kind": "critique",
                "constitution": "household",
                "model": {"base_model": str(models["answerer"]), "threads": 1, "max_tokens": 4},
                "feedback": {"critic": critic},
                "data": {"prompts": str(prompts)},
            }
        )
        with (
            embedded_server(tmp_path / "data", config.model, feedback=config.feedback) as address,
            CharterClient.connect(address) as client,
        ):
            run = client.trainer.create_run(config)
            wait_until(lambda: len(server.requests) > 2)
            client.trainer.cancel_run(run.id)
            wait_until(lambda: client.trainer.get_run(run.id).state == "CANCELLED", seconds=3)
            asked = len(server.requests)
            time.sleep(0.7)
            # The one that was under way at most.
            assert len(server.requests) <= asked + 1 < 20


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


@pytest.mark.parametrize("bounds", ["[0.8, 0.2]", "[0.3, 0.8]", "[-0.1, 1.1]", "[0.5, 0.5]"])
def test_bounds_of_a_label_are_the_same_for_both_replies(bounds: str):
    with pytest.raises(InvalidInput, match=r"label\.clamp: .* is not allowed; both replies have the same bounds"):
        plan_run("", [f"label.clamp={bounds}"], "", None, local=True)
    assert plan_run("", ["label.clamp=[0.3, 0.7]"], "", None, local=True).config.label.clamp == (0.3, 0.7)
