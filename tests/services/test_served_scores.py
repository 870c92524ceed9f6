"""The service's score is the trainer's score, of the same tokens."""

from __future__ import annotations

import pytest

from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import BASE_POLICY, Prompt, Sample
from rlhf_core.reward_models.reward_model import RewardModel
from tests.conftest import CHAT_TEMPLATE

TEXTS = [f"Answer {i}: " + "dust the shelf, " * (i % 7) + ("then rest." if i % 2 else "<|end|>") for i in range(20)]


def test_the_service_scores_a_text_as_the_trainer_does_token_for_token(served, model_config):
    prompt = Prompt.of("How do I dust a shelf?")
    backbone = Backbone.load(model_config.base_model, model_config)
    model = RewardModel.create(backbone, "helpful", "helpful", members=2, seed=0)
    samples = [Sample(id=f"s{i}", prompt=prompt, response=t, policy_version=BASE_POLICY) for i, t in enumerate(TEXTS)]
    served_scores = served.client.reward.score(samples, ["reward-helpful"])
    own = model.score([(prompt, text) for text in TEXTS]).mean(1)
    assert [score.score for score in served_scores] == pytest.approx(own.tolist(), abs=1e-5)
    assert CHAT_TEMPLATE.startswith("{% for m in messages %}<|{{ m.role }}|>")
    user, end, assistant = (backbone.tokenizer.convert_tokens_to_ids(f"<|{t}|>") for t in ("user", "end", "assistant"))
    for text in TEXTS[1::2]:  # bytes are tokens here; the texts that spell out no special token
        question = backbone.tokenizer.encode(prompt.messages[0].content, add_special_tokens=False)
        answer = backbone.tokenizer.encode(text, add_special_tokens=False)
        assert list(model.encode(prompt, text).ids) == [user, *question, end, assistant, *answer, end]
