"""A bidirectional base: conversations as its tokens, and means over them."""

from pathlib import Path

import pytest
import torch

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.base_models import Bases
from rlhf_core.models.encoder import Encoder
from rlhf_core.records.samples import Message, Prompt
from rlhf_core.reward_models.ensemble import Scoring
from rlhf_core.reward_models.reward_model import RewardModel
from tests.encoders import save_encoder

TURNS = (
    Message(role="user", content="Hi"),
    Message(role="assistant", content="Yes?"),
    Message(role="user", content="Bye"),
)
PROMPT = Prompt.from_messages(TURNS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"))


def config(folder: Path, **settings) -> ModelConfig:
    return ModelConfig(base_model=str(folder), lora=LoraConfig(rank=4, alpha=8), **settings)


@pytest.fixture
def encoder(folder: Path) -> Encoder:
    return Encoder.load(str(folder), config(folder))


def text(encoder: Encoder, ids: tuple[int, ...]) -> str:
    return "".join(encoder.tokenizer.convert_ids_to_tokens(ids))


def test_turns_and_reply_stand_between_separators(encoder):
    row = encoder.row(PROMPT, "So.")
    assert text(encoder, row.ids) == "[CLS]user: Hi\nassistant: Yes?\nuser: Bye[SEP]So.[SEP]"
    assert row.spans == ((36, 40),) and row.reply == 4, "the reply alone, with the separator behind it"


def test_the_first_token_stays_when_the_beginning_is_cut(encoder):
    assert text(encoder, encoder.row(PROMPT, "So.", max_tokens=8).ids) == "[CLS]ye[SEP]So.[SEP]"
    assert len(encoder.row(PROMPT, "x" * 500).ids) == 128, "no more than the model reads"


def test_a_model_whose_positions_begin_behind_padding_reads_as_many_tokens_as_it_has_positions_for(tmp_path):
    """RoBERTa's positions begin at 2, so that of 40 no more than 38 are for tokens."""
    encoder = Encoder.load(str(folder := save_encoder(tmp_path, 40, "roberta")), config(folder))
    row = encoder.row(PROMPT, "x" * 500)
    assert len(row.ids) == 38
    with torch.no_grad():
        assert encoder.pooled([row]).isfinite().all()


def test_a_separator_that_a_reply_spells_out_stays_text(encoder):
    sep = encoder.tokenizer.sep_token_id
    assert encoder.row(PROMPT, "a[SEP]b").ids.count(sep) == 2


def test_lines_are_scored_by_their_own_tokens(encoder):
    row = encoder.row(PROMPT, ["one\n", "two"])
    assert [text(encoder, row.ids[start:end]) for start, end in row.spans] == ["one\n", "two[SEP]"]


def test_means_are_over_the_tokens_of_a_span_whatever_stands_beside_the_row(encoder):
    short, long = encoder.row(PROMPT, "So."), encoder.row(PROMPT, ["one\n", "a longer line"])
    with torch.no_grad():
        together = encoder.pooled([short, long])
        hidden = encoder.model(input_ids=torch.tensor([long.ids])).last_hidden_state[0]
        alone = encoder.pooled([short])
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)
    by_hand = torch.stack([hidden[start:end].mean(0) for start, end in long.spans])
    torch.testing.assert_close(together[1:], by_hand, atol=1e-5, rtol=1e-4)


def test_a_reward_model_on_an_encoder_comes_back_from_its_files(encoder, tmp_path):
    encoder.adapters.add("reward", seed=1)
    model = RewardModel(encoder, "reward", "helpful", 2, 0, Scoring(process=True, step_pool="mean"))
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)) * 0.05)
    conversations = [(PROMPT, "one\ntwo"), (PROMPT, "")]
    before = model.score(conversations)
    model.save(tmp_path)
    again = RewardModel.load(encoder, "again", tmp_path)
    assert torch.equal(again.score(conversations), before) and again.scoring == model.scoring


def test_bases_read_writers_as_decoders_and_others_as_encoders(folder, tiny_model, tiny_folder):
    policy = tiny_model("llama")
    bases = Bases(policy, config(folder))
    assert bases.of(None) is policy and bases.of(policy.name) is policy
    encoder, decoder = bases.of(str(folder)), bases.of(str(tiny_folder("gpt2")))
    assert isinstance(encoder, Encoder) and encoder.name == str(folder)
    assert type(decoder) is type(policy) and decoder.name == str(tiny_folder("gpt2"))
    assert bases.of(str(folder)) is encoder and bases.all == (policy, encoder, decoder)


def test_a_base_that_is_not_there_is_named_with_the_key_that_asked_for_it(tiny_model, folder, tmp_path):
    bases = Bases(tiny_model("llama"), config(folder))
    with pytest.raises(InvalidInput, match=r"there is no folder '\./nothing'") as refused:
        bases.of("./nothing")
    assert refused.value.field == "reward.base_model"
    with pytest.raises(InvalidInput, match=r"no config\.json"):
        bases.of(str(tmp_path))


def test_half_precision_gives_about_the_same_means(folder, encoder):
    half = Encoder.load(str(folder), config(folder, dtype="bfloat16"))
    row = encoder.row(PROMPT, "So.")
    with torch.no_grad():
        near, exact = half.pooled([row]), encoder.pooled([row])
    assert near.dtype == torch.float32 and (near - exact).abs().max() < 0.2
