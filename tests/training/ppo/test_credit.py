"""Which line of a response earned its score, and what that makes of advantages."""

from __future__ import annotations

import pytest
import torch

from rlhf_core.reward_models.reward_model import Members
from rlhf_core.training.ppo.advantages import group_advantages, reward_from_line
from rlhf_core.training.ppo.credit import line_credit, shares

MASK = torch.ones(1, 6, dtype=torch.long)


def members(*steps: float) -> Members:
    return Members(torch.tensor([[sum(steps)]]), [steps])


@pytest.mark.parametrize(
    ("pool", "parts"),
    [("sum", [1, -2, 4]), ("mean", [1 / 3, -2 / 3, 4 / 3]), ("min", [0, -2, 0]), ("last", [0, 0, 4])],
)
def test_the_lines_shares_add_up_to_the_replys_score(pool, parts):
    assert shares((1.0, -2.0, 4.0), pool) == pytest.approx(parts)


def test_a_line_is_paid_where_it_ends_and_the_response_as_before_in_all(tiny_model):
    backbone = tiny_model()
    tokens = backbone.encode_response("ab\ncd")  # one token for each byte, then the end
    credit = line_credit(backbone, [("ab\ncd", tokens)], [(members(3.0, 1.0), "sum")], [2.0], MASK)
    assert credit.lines.tolist() == [[0, 0, 0, 1, 1, 1]]
    assert credit.moved.tolist() == [[[0, 0, 1.5, 0, 0, -1.5]]]


@pytest.mark.parametrize("steps", [(), (1.0,), (1.0, 2.0, 3.0)])
def test_a_model_that_knows_no_lines_or_other_lines_moves_nothing(tiny_model, steps):
    backbone = tiny_model()
    tokens = backbone.encode_response("ab\ncd")
    credit = line_credit(backbone, [("ab\ncd", tokens)], [(members(*steps), "sum")], [1.0], MASK)
    assert not credit.moved.any() and not credit.lines.any()


def test_tokens_that_are_not_those_of_the_text_are_one_line(tiny_model):
    backbone = tiny_model()
    tokens = backbone.encode_response("abxcd")
    credit = line_credit(backbone, [("ab\ncd", tokens)], [(members(3.0, 1.0), "sum")], [1.0], MASK)
    assert not credit.moved.any() and not credit.lines.any()


def test_a_response_that_was_cut_has_its_lines_too(tiny_model):
    backbone = tiny_model()
    tokens = backbone.encode_response("ab\ncde")[:-1]
    credit = line_credit(backbone, [("ab\ncde", tokens)], [(members(3.0, 1.0), "sum")], [1.0], MASK)
    assert credit.lines.tolist() == [[0, 0, 0, 1, 1, 1]]
    assert credit.moved.tolist() == [[[0, 0, 3, 0, 0, -3]]]


def test_a_token_answers_for_its_own_line_and_those_after_it():
    rewards = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 5.0]])[..., None]
    lines, mask = torch.tensor([[0, 1, 0], [0, 0, 1]]), torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert reward_from_line(rewards, lines)[..., 0].tolist() == [[3, 2], [8, 5]]
    one = torch.ones(1)
    advantages = group_advantages(rewards, mask, one, 2, "rloo", lines).advantages[..., 0]
    assert advantages.tolist() == [[3 - 8, 2 - 5, 0], [8 - 3, 8 - 3, 5 - 2]]
    # The others' totals are 3 and 8: their sd is 3.5355, their mean 5.5; of what comes from line 1 on, 3.5.
    grouped = group_advantages(rewards, mask, one, 2, "grpo", lines).advantages[..., 0]
    assert grouped[0, 0].item() == pytest.approx(-2.5 / 3.5356, abs=1e-4)
    assert grouped[1, 2].item() == pytest.approx(1.5 / 3.5356, abs=1e-4)


def test_a_response_with_fewer_lines_has_nothing_to_answer_for_behind_its_end():
    rewards = torch.tensor([[4.0, 0.0], [1.0, 2.0]])[..., None]
    lines, mask = torch.tensor([[0, 0], [0, 1]]), torch.tensor([[1, 1], [1, 1]])
    advantages = group_advantages(rewards, mask, torch.ones(1), 2, "rloo", lines).advantages[..., 0]
    assert advantages.tolist() == [[4 - 3, 4 - 3], [3 - 4, 2 - 0]]
