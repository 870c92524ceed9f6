"""Log-probabilities of given responses."""

import pytest
import torch

from rlhf_core.models import logprobs
from rlhf_core.models.batching import Batch, length_batches, make_batch, shuffled_batches
from rlhf_core.models.logprobs import response_logprobs, token_entropy, token_logprobs

PROMPTS = [[1, 2, 3], [9] * 10, [4, 5]]
RESPONSES = [[11, 12, 256], [13, 256], [14, 15, 16, 17, 256]]
KINDS = ("llama", "gpt2", "qwen3")


@pytest.mark.parametrize("kind", KINDS)
def test_the_sum_is_hugging_faces_loss(tiny_model, kind):
    backbone = tiny_model(kind)
    logprobs = response_logprobs(backbone, make_batch(backbone, PROMPTS, RESPONSES))
    for row, prompt, response in zip(logprobs, PROMPTS, RESPONSES, strict=True):
        ids = torch.tensor([prompt + response])
        labels = torch.tensor([[-100] * len(prompt) + response])
        loss = backbone.model(ids, labels=labels).loss
        assert row.sum().item() == pytest.approx(-loss.item() * len(response), abs=1e-4)


def test_temperature_divides_the_logits(tiny_model):
    backbone = tiny_model()
    batch = make_batch(backbone, PROMPTS, RESPONSES)
    logits = backbone.model(torch.tensor([PROMPTS[0] + RESPONSES[0]])).logits[0, 2:-1] / 0.7
    expected = logits.log_softmax(-1).gather(1, torch.tensor(RESPONSES[0])[:, None]).squeeze(1)
    torch.testing.assert_close(response_logprobs(backbone, batch, 0.7)[0, :3], expected, atol=1e-4, rtol=0)


def test_passes_without_gradients_hold_no_more_positions_than_the_budget_has_room_for(tiny_model, monkeypatch):
    backbone = tiny_model()
    batch = make_batch(backbone, PROMPTS, RESPONSES)  # three rows of 15
    plain, read = response_logprobs(backbone, batch), []
    tokens = logprobs.response_tokens
    monkeypatch.setattr(logprobs, "response_tokens", lambda *given: read.append(given[1].ids.numel()) or tokens(*given))
    for room, passes in ((10**6, [45]), (44, [30, 15]), (1, [15, 15, 15])):
        backbone.most_positions = room
        read.clear()
        torch.testing.assert_close(response_logprobs(backbone, batch), plain, atol=1e-4, rtol=0)
        assert read == passes


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_chunks_change_nothing(tiny_model, kind):  # checks 1, 8
    backbone = tiny_model(kind)
    batch = make_batch(backbone, PROMPTS, RESPONSES)
    plain = response_logprobs(backbone, batch)
    torch.testing.assert_close(response_logprobs(backbone, batch, chunk=1), plain, atol=1e-4, rtol=0)
    garbage = batch.ids.masked_fill(batch.present == 0, 77)
    torch.testing.assert_close(response_logprobs(backbone, batch._replace(ids=garbage)), plain, atol=1e-4, rtol=0)
    wide = Batch(*(torch.nn.functional.pad(part, (0, 5)) for part in batch))
    torch.testing.assert_close(response_logprobs(backbone, wide)[:, :5], plain, atol=1e-4, rtol=0)


def test_rows_of_a_batch_lose_only_columns_that_are_padding(tiny_model):
    backbone = tiny_model()
    batch = make_batch(backbone, PROMPTS, RESPONSES)
    part = batch.rows(torch.tensor([0, 2]))
    assert part.ids.tolist() == [[1, 2, 3, 11, 12, 256, 0, 0], [0, 4, 5, 14, 15, 16, 17, 256]]
    assert part.mask.tolist() == [[1, 1, 1, 0, 0], [1] * 5] and part.targets.shape == (2, 5)
    whole, partial = response_logprobs(backbone, batch), response_logprobs(backbone, part)
    torch.testing.assert_close(partial, whole[[0, 2]], atol=1e-4, rtol=0)


def test_logprobs_and_entropy_by_hand():
    logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [0.0, 100.0, 0.0, 0.0]]])
    assert token_logprobs(logits, torch.tensor([[2, 1]]))[0].tolist() == pytest.approx([-1.3862944, 0])
    assert token_entropy(logits)[0].tolist() == pytest.approx([1.3862944, 0], abs=1e-6)


def test_batches_of_like_length_hold_every_row_once():
    rows = [[0] * (i % 7 + 1) for i in range(50)]
    batches = list(length_batches(rows, max_rows=8))
    assert sorted(i for batch in batches for i in batch) == list(range(50)) and max(map(len, batches)) == 8
    assert sum(max(len(rows[i]) for i in batch) * len(batch) for batch in batches) < 1.2 * sum(map(len, rows))
    assert [len(batch) for batch in length_batches([[0] * 1000] * 3, extra=30_000)] == [2, 1]


def test_a_shuffled_epoch_holds_every_row_once_and_depends_on_the_generator():
    lengths = [i % 13 for i in range(100)]
    first, second = (shuffled_batches(lengths, 8, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert sorted(i for batch in first for i in batch) == list(range(100)) and len(first) == 13
    assert first != second and first == shuffled_batches(lengths, 8, torch.Generator().manual_seed(0))
