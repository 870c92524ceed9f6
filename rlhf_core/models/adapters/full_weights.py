"""Whole sets of weights that stand in for the base model's own while they are active: what full fine-tuning trains."""

from __future__ import annotations

from pathlib import Path

from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf_core.errors import InvalidInput

WEIGHTS = "model.safetensors"


class DenseWeights:
    """Named copies of all of a model's weights, in 32-bit floats; swapping them in moves pointers, not numbers.

    Names in files are the model's own, so that such a file replaces the one in the model's folder.
    """

    def __init__(self, model: PreTrainedModel):
        self._slots: dict[str, list[tuple[nn.Module, str]]] = {}
        self.base = dict(model.named_parameters())
        """The base's own weights, whatever is active."""
        names = {id(parameter): name for name, parameter in self.base.items()}
        for module in model.modules():
            for key, parameter in module._parameters.items():
                if parameter is not None:  # one that is tied stands in several places under one name
                    self._slots.setdefault(names[id(parameter)], []).append((module, key))
        self._sets: dict[str, dict[str, nn.Parameter]] = {}
        self._active: str | None = None

    def __contains__(self, name: str | None) -> bool:
        return name in self._sets

    def add(self, name: str, layers: list[LoraLayer], source: str | None) -> None:
        """Add a copy of the base's weights, with the change that the low-rank adapter `source` makes to them."""
        changed = {id(layer.get_base_layer()): layer for layer in layers if source and source in layer.lora_A}
        made = {key: parameter.detach().float().clone() for key, parameter in self.base.items()}
        for key, places in self._slots.items():
            for layer in (
                changed[id(module)] for module, place in places if place == "weight" and id(module) in changed
            ):
                # Every kind of layer has it, though their common class does not say so.
                made[key] += layer.get_delta_weight(source).detach().float()  # pyright: ignore[reportAttributeAccessIssue]
        self._sets[name] = {key: nn.Parameter(tensor, requires_grad=False) for key, tensor in made.items()}

    def copy(self, source: str, target: str) -> None:
        self._sets[target] = {
            key: nn.Parameter(parameter.detach().clone(), requires_grad=False)
            for key, parameter in self._sets[source].items()
        }

    def delete(self, name: str) -> None:
        del self._sets[name]

    def state(self, name: str) -> dict[str, Tensor]:
        return dict(self._sets[name])

    def activate(self, name: str | None, train: bool) -> None:
        """Put a set of weights in the model's places; None puts the base's own back."""
        if name != self._active:
            weights = self.base if name is None else self._sets[name]
            for key, places in self._slots.items():
                for module, attribute in places:
                    module._parameters[attribute] = weights[key]
            self._let_train(self._active, False)
            self._active = name
        self._let_train(name, train)

    def save(self, name: str, folder: Path) -> None:
        state = {key: tensor.detach().cpu().contiguous() for key, tensor in self._sets[name].items()}
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})

    def load(self, name: str, folder: Path) -> None:
        """Take the weights of a folder; names and shapes must be those of this model."""
        try:
            state = load_file(folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise InvalidInput(f"no weights in '{folder}': {error}; expected {WEIGHTS}") from error
        wrong = sorted(self.base.keys() ^ state.keys())
        wrong = wrong or sorted(key for key, own in self.base.items() if own.shape != state[key].shape)
        if wrong:
            raise InvalidInput(
                f"the weights in '{folder}' do not fit this base model: {len(wrong)} tensors differ in name or shape, "
                f"the first is '{wrong[0]}'"
            )
        device = next(iter(self.base.values())).device
        self._sets[name] = {key: nn.Parameter(state[key].float().to(device), requires_grad=False) for key in self.base}

    def _let_train(self, name: str | None, train: bool) -> None:
        for parameter in self._sets.get(name or "", {}).values():
            parameter.requires_grad_(train)
