"""Adapters on one frozen model: add, switch, copy, save, load. Low-rank ones (Hu et al. 2021) in PEFT's own format."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import cast_adapter_dtype
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from rlhf_core.config.base import Tune
from rlhf_core.errors import Conflict, InvalidInput, NotFound
from rlhf_core.models.adapters import base_identity, full_weights
from rlhf_core.models.adapters.lora_linear import LowRankLinear, RoundedFactors
from rlhf_core.models.divided import alike, whole

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PREFIX = "base_model.model."


class Adapters:
    """The named adapters of one model. At most one is active; none active is the base model, bit for bit.

    An adapter takes gradients only inside `using(name, train=True)`, so no optimizer can move another one.
    A dense adapter stands in for all weights of the model; it is what full fine-tuning trains.
    """

    def __init__(self, base_model: str, model: PreTrainedModel, rank: int, alpha: int, targets: Sequence[str] = ()):
        """`targets` names the linear layers that low-rank adapters change; none means all but the head."""
        self.base_model, self.model, self.rank, self.alpha = base_model, model, rank, alpha
        self._targets = _checked(model, targets)
        self._names: list[str] = []
        self._layers: list[LoraLayer] = []
        self._dense = full_weights.DenseWeights(model)
        self._active: tuple[str | None, bool] = (None, False)
        self._shares: tuple[str, ...] = ()
        self._base_hash = ""
        self.changes = 0
        """How often adapters came or went; while it stays, the weights of each stay where they are."""
        model.requires_grad_(False)

    @property
    def names(self) -> tuple[str, ...]:
        """In the order in which they came."""
        return tuple(self._names)

    @property
    def active(self) -> str | None:
        """The one that changes what the model computes now; None is the base."""
        return self._active[0]

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @contextmanager
    def using(self, name: str | None, train: bool = False) -> Iterator[None]:
        """Activate an adapter (None: the base model); the state before is restored at the end."""
        if name is not None:
            self._must_exist(name)
        before, shares = self._active, self._shares
        self._share(())
        self._switch((name, train))
        try:
            yield
        finally:
            self._switch(before)
            self._share(shares)

    @contextmanager
    def using_each(self, names: Sequence[str]) -> Iterator[None]:
        """Pass rows through several adapters at once, an equal share of them through each, in this order.

        They have one `shared_rank`; no gradients pass. Who uses one adapter meanwhile gets that one alone.
        """
        with self.using(None):
            self._share(tuple(names))
            try:
                yield
            finally:
                self._share(())

    def shared_rank(self, name: str) -> int | None:
        """Return the rank of an adapter that can share a pass with others of its rank; None where it cannot."""
        self._must_exist(name)
        if name in self._dense or not all(isinstance(layer, LowRankLinear) for layer in self._layers):
            return None
        return self._layers[0].r[name]

    def rounded(self) -> RoundedFactors | None:
        """Return the active adapter's factors in the base's 16 bits; None where nothing is to be rounded."""
        name, own = self.active, [layer for layer in self._layers if isinstance(layer, LowRankLinear)]
        if name is None or name in self._dense or len(own) < len(self._layers) or own[0].base_dtype == torch.float32:
            return None
        return RoundedFactors(own, name)

    def add(self, name: str, seed: int, rank: int | None = None, alpha: int | None = None) -> None:
        """Add an adapter that changes nothing yet: A is drawn from the seed, B is zero."""
        self._must_be_free(name)
        config = LoraConfig(
            r=rank or self.rank,
            lora_alpha=alpha or self.alpha,
            lora_dropout=0.0,
            target_modules=self._targets,
            task_type="CAUSAL_LM",
            fan_in_fan_out=type(self.model).__name__.startswith("GPT2"),
        )
        config._register_custom_module({nn.Linear: LowRankLinear})
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            inject_adapter_in_model(config, self.model, name)
        cast_adapter_dtype(self.model, name)  # small steps would be lost in a base of 16 bits
        self._layers = [module for module in self.model.modules() if isinstance(module, LoraLayer)]
        self._came(name)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for key, tensor in self.state(name).items():
                if key.endswith("lora_A.weight"):
                    bound = 1 / math.sqrt(tensor.shape[1])
                    tensor.copy_(torch.empty(tensor.shape).uniform_(-bound, bound, generator=generator))
                else:
                    tensor.zero_()
        self._apply(self._active)

    def begin(self, name: str, seed: int, tune: Tune) -> None:
        """Add an adapter that changes nothing yet, to be trained; one that has its name is dropped."""
        if name in self:
            self.delete(name)
        if tune == "full":
            self.add_dense(name, None)
        else:
            self.add(name, seed)

    def add_dense(self, name: str, source: str | None) -> None:
        """Add a dense adapter that computes what `source` does, or the base model."""
        if source is not None and source in self._dense:
            return self.copy(source, name)
        self._must_be_free(name)
        self._dense.add(name, self._layers, source)
        self._came(name)

    @property
    def base_hash(self) -> str:
        """What tells the base's weights from others; it stays when their folder is moved."""
        self._base_hash = self._base_hash or base_identity.weights_hash(self._dense.base)
        return self._base_hash

    def let_go_of_base(self) -> None:
        """Hold the base's weights nowhere but in the model, which may divide them; no dense adapter can come after."""
        self._base_hash = self.base_hash
        self._dense.base.clear()

    @property
    def dense_is_active(self) -> bool:
        return self._active[0] in self._dense

    def is_dense(self, name: str) -> bool:
        """Tell whether an adapter stands in for all weights."""
        self._must_exist(name)
        return name in self._dense

    def copy(self, source: str, target: str) -> None:
        """Add an adapter with the weights of another; the two share nothing."""
        self._must_exist(source)
        if source in self._dense:
            self._must_be_free(target)
            self._dense.copy(source, target)
            self._came(target)
            return
        layer = self._layers[0]
        self.add(target, 0, layer.r[source], layer.lora_alpha[source])
        self._write(target, self.state(source))

    def delete(self, name: str) -> None:
        self._must_exist(name)
        if self._active[0] == name:
            raise Conflict(f"adapter '{name}' is in use")
        self._names.remove(name)
        self.changes += 1
        if name in self._dense:
            return self._dense.delete(name)
        for layer in self._layers:
            layer.set_adapter([], inference_mode=True)
            layer.delete_adapter(name)
        self.model.peft_config.pop(name)
        self._apply(self._active)

    def parameters(self, name: str) -> list[nn.Parameter]:
        return [tensor for tensor in self.state(name).values() if isinstance(tensor, nn.Parameter)]

    def state(self, name: str) -> dict[str, Tensor]:
        """Return the adapter's own parameters under PEFT's file names, or those of the model where it is dense."""
        self._must_exist(name)
        if name in self._dense:
            return self._dense.state(name)
        marks = (f".lora_A.{name}.weight", f".lora_B.{name}.weight")
        named = (item for item in self.model.named_parameters() if item[0].endswith(marks))
        return {PREFIX + key.replace(f".{name}.weight", ".weight"): tensor for key, tensor in named}

    def save(self, name: str, folder: Path) -> None:
        """Write safetensors and a configuration that PEFT and vLLM also read; same weights, same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        base_identity.note(folder, self.base_hash)
        if name in self._dense:
            return self._dense.save(name, folder)
        state = {key: whole(tensor.detach()).cpu().contiguous() for key, tensor in self.state(name).items()}
        layer = self._layers[0]
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base_model,
            "r": layer.r[name],
            "lora_alpha": layer.lora_alpha[name],
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": bool(getattr(layer, "fan_in_fan_out", False)),
            "target_modules": sorted({key.split(".")[-3] for key in state}),
        }
        save_file(state, folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")

    def load(self, name: str, folder: Path) -> None:
        """Add an adapter from a folder; its base, and names and shapes, must be those of this model."""
        base_identity.refuse_other_base(folder, self.base_model, self.base_hash)
        if (folder / full_weights.WEIGHTS).is_file():
            self._must_be_free(name)
            self._dense.load(name, folder)
            self._came(name)
            return
        try:
            config = json.loads((folder / CONFIG).read_text())
            state = load_file(folder / WEIGHTS)
            rank, alpha = int(config["r"]), int(config["lora_alpha"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise InvalidInput(f"no adapter in '{folder}': {error}; expected {CONFIG} and {WEIGHTS}") from error
        self.add(name, 0, rank, alpha)
        try:
            self._write(name, state)
        except InvalidInput as error:
            self.delete(name)
            raise InvalidInput(f"the adapter in '{folder}' does not fit this base model: {error}") from error

    def take(self, name: str, folder: Path) -> None:
        """Give an adapter the weights of a folder, which must hold one of the same kind and shape."""
        self._must_exist(name)
        file = folder / (full_weights.WEIGHTS if name in self._dense else WEIGHTS)
        try:
            self._write(name, load_file(file))
        except (OSError, SafetensorError, InvalidInput) as error:
            raise InvalidInput(f"adapter '{name}' cannot take the weights of '{file}': {error}") from error

    def _write(self, name: str, state: dict[str, Tensor]) -> None:
        own = self.state(name)
        wrong = sorted(own.keys() ^ state.keys()) or sorted(k for k in own if own[k].shape != state[k].shape)
        if wrong:
            raise InvalidInput(f"{len(wrong)} tensors differ in name or shape, the first is '{wrong[0]}'")
        with torch.no_grad():
            for key, tensor in own.items():
                tensor.copy_(alike(state[key], tensor))

    def _switch(self, state: tuple[str | None, bool]) -> None:
        if state != self._active:
            self._apply(state, gradients=state[1] or self._active[1])
            self._active = state

    def _share(self, names: tuple[str, ...]) -> None:
        if names != self._shares:
            self._shares = names
            for layer in self._layers:
                if isinstance(layer, LowRankLinear):
                    layer.shares = names

    def _apply(self, state: tuple[str | None, bool], gradients: bool = True) -> None:
        """`gradients`: an adapter takes them before or after, so that they have to be turned on or off."""
        name, train = state
        self._dense.activate(name if name in self._dense else None, train)
        name = None if name in self._dense else name
        active = [name] if name is not None else []
        for layer in self._layers:
            if gradients:
                # `enable_adapters(True)` makes the active adapter trainable, so `set_adapter` comes last.
                if layer.disable_adapters != (name is None):
                    layer.enable_adapters(name is not None)
                layer.set_adapter(active, inference_mode=not train)
            else:
                # What those two come to then; they look at every parameter, which takes half as long as a small pass.
                # Past `Module.__setattr__`, which looks whether it is given parameters.
                vars(layer).update(_active_adapter=active, _disable_adapters=name is None)

    def _came(self, name: str) -> None:
        self._names.append(name)
        self.changes += 1

    def _must_be_free(self, name: str) -> None:
        if name in self._names:
            raise Conflict(f"adapter '{name}' exists already")
        if not name or "." in name:
            raise InvalidInput(f"adapter name '{name}' is not usable; allowed: a non-empty name without '.'")

    def _must_exist(self, name: str) -> None:
        if name not in self._names:
            raise NotFound(f"unknown adapter '{name}'; loaded: {', '.join(self._names) or 'none'}")


def _checked(model: PreTrainedModel, targets: Sequence[str]) -> list[str] | str:
    """As PEFT wants them; InvalidInput where a name is that of no linear layer below the head."""
    head = model.get_output_embeddings()
    linear = {name.split(".")[-1] for name, part in model.named_modules() if _is_linear(part) and part is not head}
    unknown = [name for name in targets if name not in linear]
    if unknown:
        allowed = ", ".join(sorted(linear))
        raise InvalidInput(f"the model has no linear layer '{unknown[0]}'; allowed: {allowed}", "model.lora.targets")
    return list(targets) or "all-linear"


def _is_linear(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear | Conv1D)
