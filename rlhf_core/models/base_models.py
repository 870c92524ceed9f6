"""The base models of a process: the policy's, and those that reward models name for themselves."""

from __future__ import annotations

from transformers import AutoConfig

from rlhf_core.config.run import ModelConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.checkpoint import check_folder, unreadable
from rlhf_core.models.encoder import Encoder
from rlhf_core.models.gguf import model_folder

FIELD = "reward.base_model"


class Bases:
    """Each base is loaded when it is first asked for, and then stays."""

    def __init__(self, backbone: Backbone, config: ModelConfig):
        self._backbone, self._config = backbone, config
        self._loaded: dict[str, Backbone | Encoder] = {}

    def of(self, name: str | None) -> Backbone | Encoder:
        """Return the base of this name, a folder or a Hugging Face id; none is the policy's.

        Raises InvalidInput if it is unusable.
        """
        if name is None or name == self._backbone.name:
            return self._backbone
        if name not in self._loaded:
            base = self._loaded[name] = _load(name, self._config.model_copy(update={"base_model": name}))
            if isinstance(base, Backbone):
                base.before_pass = self._backbone.before_pass
        return self._loaded[name]

    @property
    def all(self) -> tuple[Backbone | Encoder, ...]:
        """All that are loaded."""
        return self._backbone, *self._loaded.values()


def _load(path: str, config: ModelConfig) -> Backbone | Encoder:
    """A model that writes is read as a decoder, any other as an encoder; a folder keeps its path as its name."""
    folder = model_folder(path, FIELD)
    check_folder(folder, FIELD)
    try:
        kinds = AutoConfig.from_pretrained(folder).architectures or [""]
    except Exception as error:  # as in `load_checkpoint`
        raise unreadable(folder, FIELD, error) from error
    if not kinds[0].endswith(("ForCausalLM", "LMHeadModel")):
        return Encoder.load(path, config)
    base = Backbone.load(folder, config)
    base.name = path
    return base
