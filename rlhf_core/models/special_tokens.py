"""The tokens that a tokenizer does not make of text, and those of them that end a turn."""

from __future__ import annotations

from collections.abc import Collection

from transformers import PreTrainedModel, PreTrainedTokenizerBase


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Ids by how they are spelled, the longest first, as the one found in a text is the longest that begins there."""
    found = {added.content: token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return dict(sorted(found.items(), key=lambda item: len(item[0]), reverse=True))


def stop_ids(model: PreTrainedModel, special: Collection[int], eos_id: int) -> tuple[int, ...]:
    """EOS, and the end-of-turn tokens that the generation config names where they are special tokens here."""
    config_ids: int | list[int] | None = getattr(model.generation_config, "eos_token_id", None)
    named = [config_ids] if isinstance(config_ids, int) else config_ids or []
    return tuple(sorted({eos_id, *(set(special).intersection(named))}))
