import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf_core.sandbox.forward import hidden_states


def test_the_forward_pass_is_transformers_own():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    tokens = torch.randint(0, 50, (3, 7))
    expected = model.model(input_ids=tokens).last_hidden_state
    torch.testing.assert_close(hidden_states(model, tokens, torch.float32), expected, atol=1e-5, rtol=1e-5)
