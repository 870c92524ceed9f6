"""The tokens that a tokenizer does not make of text, those of them that end a turn, and the ids that are no tokens."""

from __future__ import annotations

from typing import cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase


def special_tokens(tokenizer: PreTrainedTokenizerBase, end: str) -> dict[str, int]:
    """Return special tokens' ids by how they are spelled, the longest first.

    So the one found in a text is the longest that begins there.

    The end of a turn is one of them, even where the tokenizer does not call it special.
    """
    added = tokenizer.added_tokens_decoder.items()
    found = {token.content: index for index, token in added if token.special or token.content == end}
    return dict(sorted(found.items(), key=lambda item: len(item[0]), reverse=True))


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, end_id: int) -> tuple[int, ...]:
    """Return the tokens that end a response: the end of a turn, EOS, and those that the generation config names.

    Of the last, only those that are tokens of no text here.
    """
    config_ids: int | list[int] | None = getattr(model.generation_config, "eos_token_id", None)
    named = [config_ids] if isinstance(config_ids, int) else config_ids or []
    eos_id = cast(int, tokenizer.eos_token_id)
    return tuple(sorted({end_id, eos_id, *(set(tokenizer.added_tokens_decoder).intersection(named))}))


def padding_ids(tokenizer: PreTrainedTokenizerBase, rows: int) -> list[int]:
    """Return rows of an embedding that stand for no token, such as those that round its size up."""
    return sorted(set(range(rows)) - set(tokenizer.get_vocab().values()))
