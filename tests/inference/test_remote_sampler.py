"""The policy sampled by another server: a real HTTP server in vLLM's shapes, a tiny real model on either side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.config.sampler import SamplerConfig
from rlhf_core.errors import InvalidInput, Unavailable
from rlhf_core.inference.generate import generate
from rlhf_core.inference.remote_sampler import RemoteSampler, connect
from rlhf_core.models.backbone import Backbone
from tests.conftest import save_model, save_tokenizer
from tests.vllm_server import Answer, Asked, TinyVllm, refusal, running

PROMPTS = [[1, 2, 3], [9] * 10, [1, 2, 3]]


@pytest.fixture
def serve(tiny_model) -> Iterator[Callable[..., TinyVllm]]:
    """`serve(**options)` is a server of the tiny model that the test has too."""
    with ExitStack() as stack:
        yield lambda backbone=None, **options: stack.enter_context(
            running(TinyVllm(backbone or tiny_model(), **options))
        )


@pytest.fixture
def backbone(tiny_model) -> Backbone:
    backbone = tiny_model()
    backbone.adapters.add("policy", 0)
    move(backbone, 0.1)
    return backbone


def move(backbone: Backbone, size: float) -> None:
    with torch.no_grad():
        for i, weight in enumerate(backbone.adapters.parameters("policy")):
            weight.add_(size * torch.randn(weight.shape, generator=torch.Generator().manual_seed(i)))


def sampler_of(server: TinyVllm, backbone: Backbone, folder: Path, **settings) -> RemoteSampler:
    return connect(SamplerConfig.model_validate({"address": server.address, **settings}), backbone, folder)


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlhf_core.inference.vllm_http.FIRST_WAIT", 0.001)


def write(sampler: RemoteSampler, version) -> list:
    return sampler.write(version, PROMPTS, 2, 0.7, 6, seed=5)


def test_what_an_adapter_writes_there_is_what_it_writes_here(serve, backbone, tmp_path):
    server = serve()
    sampler = sampler_of(server, backbone, tmp_path)
    sampler.check()
    given = sampler.hand_over_adapter("policy", step=3)
    replies = write(sampler, given.version)
    seeds = [asked.body["seed"] for asked in server.of("completions")[-6:]]
    assert len(set(seeds)) == 6, "a prompt that is repeated has draws of its own"
    with backbone.adapters.using("policy"):
        own = generate(backbone, PROMPTS, n=2, temperature=0.7, max_tokens=6, seed=5)
    assert [(reply.tokens, reply.finished) for reply in replies] == [(row.tokens, row.finished) for row in own]
    for reply, row in zip(replies, own, strict=True):
        assert reply.logprobs == pytest.approx(row.logprobs, abs=1e-5)


def test_adapters_are_named_by_step_and_content_and_only_the_last_ones_stay(serve, backbone, tmp_path):
    server = serve()
    sampler = sampler_of(server, backbone, tmp_path)
    given = sampler.hand_over_adapter("policy", step=1)
    again = sampler.hand_over_adapter("policy", step=1)
    assert again.version == given.version and again.bytes == 0 and len(server.of("load_lora_adapter")) == 1
    weights = sum(p.numel() for p in backbone.adapters.parameters("policy")) * 4
    assert weights < given.bytes < weights + 20_000, "adapters alone are handed over"
    names = [given.version.name]
    for step in (2, 3):
        move(backbone, 0.1)
        names.append(sampler.hand_over_adapter("policy", step).version.name)
    assert [name.split("-")[:2] for name in names] == [["policy", "1"], ["policy", "2"], ["policy", "3"]]
    assert len({name.split("-")[2] for name in names}) == 3
    assert list(server.loaded) == names[1:] == [folder.name for folder in sorted(tmp_path.iterdir())]
    sampler.close()
    assert not server.loaded and not tmp_path.exists()


def test_each_request_salts_the_prefix_cache_and_leaves_no_draw_to_the_servers_defaults(serve, backbone, tmp_path):
    server = serve()
    sampler = sampler_of(server, backbone, tmp_path)
    version = sampler.hand_over_adapter("policy", step=1).version
    write(sampler, version)
    for asked in server.of("completions"):
        assert asked.body["cache_salt"] == asked.body["model"] == version.name
        assert (asked.body["top_p"], asked.body["top_k"], asked.body["min_p"]) == (1.0, 0, 0.0)
        assert asked.body["repetition_penalty"] == 1.0 and asked.body["ignore_eos"] is True
        assert asked.body["stop_token_ids"] == list(backbone.stop_ids)


def test_an_adapter_that_the_server_has_forgotten_is_loaded_again_and_asked_again(serve, backbone, tmp_path):
    server = serve()
    sampler = sampler_of(server, backbone, tmp_path)
    version = sampler.hand_over_adapter("policy", step=1).version
    before = write(sampler, version)
    server.restart()
    assert write(sampler, version) == before
    assert list(server.loaded) == [version.name]


def test_failures_are_asked_again_with_the_same_seed_and_make_no_duplicates(serve, backbone, tmp_path):
    server = serve()
    sampler = sampler_of(server, backbone, tmp_path)
    version = sampler.hand_over_adapter("policy", step=1).version
    calm = write(sampler, version)
    server.asked.clear()
    failed: set[int] = set()

    def fail_once(asked: Asked):
        if asked.path != "/v1/completions" or asked.body["seed"] in failed:
            return None
        failed.add(asked.body["seed"])
        return refusal(500 if len(failed) % 2 else 503, "EngineCore encountered an issue")

    server.fails = fail_once
    assert write(sampler, version) == calm
    seeds = [asked.body["seed"] for asked in server.of("completions")]
    assert len(seeds) == 12 and {seeds.count(seed) for seed in seeds} == {2}


def test_a_server_that_stays_broken_is_told_of_with_its_words_and_the_tries(serve, backbone, tmp_path):
    server = serve()
    sampler = sampler_of(server, backbone, tmp_path, retries=2)
    server.fails = lambda asked: refusal(500, "out of memory") if asked.path == "/v1/completions" else None
    with pytest.raises(Unavailable, match=rf"{server.address}: 500: .*out of memory.*\(3 tries\)"):
        write(sampler, sampler.base())


def test_a_row_that_was_cut_before_its_limit_is_no_response(serve, backbone, tmp_path):
    server = serve()
    sampler = sampler_of(server, backbone, tmp_path, retries=0)
    choice = {"token_ids": [5, 6], "logprobs": {"token_logprobs": [-1.0, -1.0]}}
    server.fails = _answering(200, {"model": "/models/tiny", "choices": [choice]})
    with pytest.raises(Unavailable, match="cut after 2 of 6 tokens"):
        write(sampler, sampler.base())


def _answering(status: int, body):
    return lambda asked: Answer(status, body) if asked.path == "/v1/completions" else None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"model": "policy-0-old", "choices": [{"token_ids": [256], "logprobs": {"token_logprobs": [-1.0]}}]},
         "answered for model 'policy-0-old', asked was '/models/tiny'"),
        ({"model": "/models/tiny", "choices": [{"text": "hi"}]}, "another shape than vLLM's: choices.0.token_ids"),
        ({"model": "/models/tiny", "choices": [{"token_ids": [256], "logprobs": {"token_logprobs": [-1.0, 0.0]}}]},
         "2 log-probabilities of 1 tokens"),
        ({"model": "/models/tiny", "choices": [{"token_ids": [99999], "logprobs": {"token_logprobs": [-1.0]}}]},
         "wrote token 99999, where the model here has"),
        ({"model": "/models/tiny", "choices": [{"token_ids": [-1], "logprobs": {"token_logprobs": [-1.0]}}]},
         "wrote token -1, where the model here has"),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_about_what_was_asked_is_refused(serve, backbone, tmp_path, body, told):
    server = serve()
    sampler = sampler_of(server, backbone, tmp_path)
    server.fails = _answering(200, body)
    with pytest.raises(InvalidInput, match=told) as refused:
        write(sampler, sampler.base())
    assert server.address in str(refused.value) and refused.value.field == "model.sampler.address"


def test_a_server_of_another_base_is_refused_by_what_it_computes(serve, backbone, tmp_path):
    other = tmp_path / "other"
    save_model(other, "llama", seed=1)
    save_tokenizer(other)
    config = ModelConfig(base_model=str(other), lora=LoraConfig(rank=4, alpha=8))
    server = serve(Backbone.load(str(other), config), name=backbone.name)
    with pytest.raises(InvalidInput, match=r"serves .* nats on average from those of .* allowed: at most 0.1"):
        sampler_of(server, backbone, tmp_path / "sampler").check()


def test_log_probs_before_the_temperature_are_told_from_another_base(serve, backbone, tmp_path):
    server = serve(processed=False)
    with pytest.raises(InvalidInput, match="--logprobs-mode processed_logprobs"):
        sampler_of(server, backbone, tmp_path).check()


def test_a_server_without_adapters_is_refused_with_how_to_start_one(serve, backbone, tmp_path):
    server = serve(lora=False)
    with pytest.raises(InvalidInput, match=r"cannot load the adapter .*404.*--enable-lora"):
        sampler_of(server, backbone, tmp_path).check()


def test_a_server_that_reads_adapters_and_computes_something_else_is_refused(serve, backbone, tmp_path):
    server = serve()
    load = server.backbone.adapters.load

    def half(name: str, folder: Path) -> None:
        load(name, folder)
        with torch.no_grad():
            for weight in server.backbone.adapters.parameters(name):
                weight.mul_(0.5)

    server.backbone.adapters.load = half
    with pytest.raises(InvalidInput, match=r"an adapter's log-probabilities of \d+ tokens differ"):
        sampler_of(server, backbone, tmp_path).check()


def test_a_prompt_that_is_too_long_for_the_server_is_refused_before_it_is_asked(serve, backbone, tmp_path):
    server = serve()
    server.backbone.max_length = 12
    sampler = sampler_of(server, backbone, tmp_path)
    with pytest.raises(InvalidInput, match=r"reads 12 tokens, and a prompt of 10 with a response of 6 .*max-model-len"):
        write(sampler, sampler.base())
    assert not server.of("completions")


def test_an_adapter_of_a_higher_rank_than_the_server_takes_is_refused_at_once(serve, backbone, tmp_path):
    server = serve()
    told = "LoRA rank 32 is greater than max_lora_rank 16."
    server.fails = lambda asked: refusal(500, told) if asked.path == "/v1/load_lora_adapter" else None
    with pytest.raises(InvalidInput, match=r"max_lora_rank 16.*raise --max-lora-rank"):
        sampler_of(server, backbone, tmp_path).check()
    assert len(server.of("load_lora_adapter")) == 1


def test_an_address_where_nobody_listens_is_named(backbone, tmp_path):
    config = SamplerConfig(address="http://127.0.0.1:9", retries=1)
    with pytest.raises(Unavailable, match=r"model.sampler.address: http://127.0.0.1:9: cannot be reached.*2 tries"):
        connect(config, backbone, tmp_path).check()


def test_the_key_comes_from_the_environment_and_a_missing_one_is_named(serve, backbone, tmp_path):
    server = serve()
    config = SamplerConfig(address=server.address, key_env="VLLM_KEY")
    with pytest.raises(InvalidInput, match="environment variable VLLM_KEY is not set"):
        connect(config, backbone, tmp_path, environ={})
    connect(config, backbone, tmp_path, environ={"VLLM_KEY": "s3cret"}).base()
    assert server.asked[-1].key == "Bearer s3cret"


def test_who_waits_can_give_up(serve, backbone, tmp_path):
    class GivenUp(Exception):
        pass

    def give_up() -> None:
        raise GivenUp

    server = serve()
    sampler = connect(SamplerConfig(address=server.address), backbone, tmp_path, give_up)
    with pytest.raises(GivenUp):
        sampler.base()
