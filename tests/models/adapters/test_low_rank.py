"""The low-rank layer: both of its ways give the numbers and gradients of W + s B A, and a wrong target is named."""

import pytest
import torch
from peft import LoraConfig as PeftConfig

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.adapters.lora_linear import LowRankLinear
from rlhf_core.models.backbone import Backbone
from tests.conftest import save_model, save_tokenizer


def layer(dtype: torch.dtype = torch.float32) -> LowRankLinear:
    """5 inputs, 3 outputs, rank 2; the scale is 6 / 2."""
    torch.manual_seed(0)
    base = torch.nn.Linear(5, 3).requires_grad_(False).to(dtype)
    made = LowRankLinear(base, "a", config=PeftConfig(), r=2, lora_alpha=6)
    for parameter in (made.lora_A["a"].weight, made.lora_B["a"].weight):
        parameter.data = torch.randn(parameter.shape)
    made.set_adapter(["a"])
    return made


@pytest.mark.parametrize("tokens", [1, 2, 40])  # 2 x 8 operations are more than 5 x 3, 1 x 8 are fewer
def test_few_and_many_tokens_give_the_sum_of_the_matrices_and_its_gradients(tokens):
    made = layer()
    a, b = made.lora_A["a"].weight, made.lora_B["a"].weight
    x = torch.randn(1, tokens, 5, requires_grad=True)
    whole = made.base_layer.weight + 3 * b @ a
    expected = torch.einsum("bti,oi->bto", x, whole) + made.base_layer.bias
    torch.testing.assert_close(made(x), expected, atol=1e-5, rtol=0)
    slopes = torch.randn(1, tokens, 3)
    wanted = torch.autograd.grad((expected * slopes).sum(), (x, a, b))
    result = torch.autograd.grad((made(x) * slopes).sum(), (x, a, b))
    for one, other in zip(result, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_a_base_of_16_bits_shows_a_change_that_its_weights_could_not_hold():
    made = layer(torch.bfloat16)
    a, b = made.lora_A["a"].weight, made.lora_B["a"].weight
    made.base_layer.weight.data.fill_(1.0)
    made.base_layer.bias.data.zero_()
    a.data.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]] * 2))
    b.data.fill_(2**-13)  # the sum would be 1 + 6 x 2^-13, which is 1 where steps are of 2^-7
    made(torch.tensor([[1.0, -1.0, 0.0, 0.0, 0.0]] * 40, dtype=torch.bfloat16)).float().sum().backward()
    x = torch.tensor([[1.0, -1.0, 0.0, 0.0, 0.0]] * 40, dtype=torch.bfloat16)
    torch.testing.assert_close(made(x).float(), torch.full((40, 3), 6 * 2**-13), atol=0, rtol=0)
    torch.testing.assert_close(b.grad, torch.full((3, 2), 3 * 40.0), atol=0, rtol=0)  # 32 bits, as the factors are


def test_few_tokens_of_16_bits_take_the_factors_in_32():
    made = layer(torch.bfloat16)
    made.base_layer.weight.data.zero_()
    made.base_layer.bias.data.zero_()
    made.lora_A["a"].weight.data.copy_(torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.0]] * 2))
    made.lora_B["a"].weight.data.copy_(torch.tensor([[1.0, -1.0]] * 3))
    made.lora_A["a"].weight.data[0, 1] += 2**-12  # lost where 1 is held in steps of 2^-7
    x = torch.ones(1, 5, dtype=torch.bfloat16)
    with torch.no_grad():
        torch.testing.assert_close(made(x).float(), torch.full((1, 3), made.scaling["a"] * 2**-12), atol=0, rtol=0)


def test_adapters_change_the_layers_that_are_named_and_no_others(tmp_path):
    save_model(tmp_path, "llama")
    save_tokenizer(tmp_path)

    def load(*targets: str) -> Backbone:
        lora = LoraConfig(rank=2, alpha=4, targets=targets)
        return Backbone.load(str(tmp_path), ModelConfig(base_model=str(tmp_path), lora=lora))

    backbone = load("q_proj", "v_proj")
    backbone.adapters.add("a", 0)
    names = {name.split(".")[-4] for name, _ in backbone.model.named_parameters() if "lora_" in name}
    assert names == {"q_proj", "v_proj"}
    backbone.adapters.save("a", tmp_path / "a")
    other = load("q_proj", "v_proj")
    other.adapters.load("a", tmp_path / "a")
    with pytest.raises(InvalidInput, match="no linear layer 'lm_head'; allowed: down_proj, gate_proj"):
        load("q_proj", "lm_head")
