"""Loading, rendering, padding and lengths, on three architectures."""

import json
import shutil

import pytest
import torch

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Message
from tests.conftest import save_model, save_tokenizer

KINDS = ("llama", "gpt2", "qwen3")


def turn(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def load(folder) -> Backbone:
    return Backbone.load(str(folder), ModelConfig(base_model=str(folder)))


@pytest.fixture
def broken(tiny_folder, tmp_path):
    """A copy of a good folder, with changes to tokenizer_config.json."""

    def make(**changes):
        folder = tmp_path / "model"
        shutil.copytree(tiny_folder("llama"), folder)
        file = folder / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
        return folder

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_the_left_changes_nothing(tiny_model, kind):  # GPT-2 has absolute positions
    backbone = tiny_model(kind)
    rows = [[1, 2, 3], [9, 8, 7, 6, 5, 4, 3, 2, 1], [5] * 30]
    together = backbone.forward(*backbone.pad_left(rows), keep=2)
    for i, row in enumerate(rows):
        alone = backbone.forward(*backbone.pad_left([row]), keep=2)
        torch.testing.assert_close(together.logits[i], alone.logits[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(together.hidden[i], alone.hidden[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_hidden_states_are_those_that_the_logits_come_from(tiny_model, kind):
    backbone = tiny_model(kind)
    output = backbone.forward(*backbone.pad_left([[1, 2, 3]]), keep=3)
    head = backbone.model.get_output_embeddings()
    torch.testing.assert_close(head(output.hidden), output.logits, atol=0, rtol=0)
    assert output.hidden.shape == (1, 3, backbone.hidden_size)


def test_a_conversation_ends_where_the_assistant_begins(tiny_model):
    backbone = tiny_model()
    text = backbone.tokenizer.decode(backbone.render((Message(role="system", content="Be kind."), *turn("Hi"))))
    assert text == "<|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>"


@pytest.mark.parametrize("text", ["plain", "é 漢 🙂", "  two  spaces . kept ,", "", "{braces}"])
def test_responses_survive_the_way_there_and_back(tiny_model, text):
    backbone = tiny_model()
    ids = backbone.encode_response(text)
    assert ids[-1] == backbone.eos_id and backbone.decode(ids) == text


def test_dropout_never_acts(tiny_model):
    backbone = tiny_model("gpt2")
    assert any(getattr(module, "p", 0) > 0 for module in backbone.model.modules())
    backbone.adapters.add("a", 0)
    with backbone.adapters.using("a", train=True):
        first, second = (backbone.forward(*backbone.pad_left([[1, 2, 3]]), keep=3).logits for _ in range(2))
    assert torch.equal(first, second) and not backbone.model.training


@pytest.mark.parametrize("pad", [None, "<|end|>"])
def test_no_padding_token_or_padding_that_is_the_end_token_is_fine(tmp_path, pad):
    save_model(tmp_path, "llama")
    save_tokenizer(tmp_path, pad=pad)
    backbone = load(tmp_path)
    ids, mask = backbone.pad_left([[1], backbone.encode_response("ab")])
    assert mask.tolist() == [[0, 0, 1], [1, 1, 1]] and ids[1, -1] == backbone.eos_id


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./missing"])
def test_a_missing_folder_is_named_with_what_is_expected(path):
    with pytest.raises(InvalidInput, match=f"no folder '{path}'; expected a folder with config.json"):
        Backbone.load(path, ModelConfig(base_model=path))


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(InvalidInput, match=r"has no config.json"):
        load(tmp_path)


def test_a_folder_without_weights_says_what_is_expected(broken):
    folder = broken()
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidInput, match=r"cannot be loaded.*safetensors"):
        load(folder)


def test_a_tokenizer_without_an_end_token_is_refused(broken):
    with pytest.raises(InvalidInput, match="has no end token"):
        load(broken(eos_token=None))


def test_a_tokenizer_without_a_chat_template_is_refused(broken):
    folder = broken()
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InvalidInput, match="has no chat template"):
        load(folder)


def test_a_template_that_refuses_a_role_is_the_users_mistake(broken):
    folder = broken()
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system turns here') }}")
    with pytest.raises(InvalidInput, match="refuses the turns user: no system turns here"):
        load(folder).render(turn("Hi"))


def test_a_prompt_longer_than_the_context_names_both_lengths(tiny_model):
    with pytest.raises(InvalidInput, match=r"prompt has 190 tokens and the response may have 8; the context .* is 192"):
        tiny_model().check_length(190, 8)


def test_a_device_that_is_not_there_is_named(tiny_folder):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InvalidInput, match="device 'cuda' is not available"):
        Backbone.load(str(tiny_folder("llama")), ModelConfig(device="cuda"))


def test_an_end_of_turn_named_by_the_generation_config_stops_if_it_is_a_special_token(broken):
    folder = broken()
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [256, 259, 2]}))
    assert load(folder).stop_ids == (256, 259)


def test_half_precision_keeps_adapters_in_full_precision(tiny_folder):
    backbone = Backbone.load(str(tiny_folder("llama")), ModelConfig(dtype="bfloat16"))
    backbone.adapters.add("a", 0)
    with backbone.adapters.using("a"):
        assert backbone.forward(*backbone.pad_left([[1, 2]]), keep=1).logits.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in backbone.adapters.parameters("a")} == {torch.float32}
