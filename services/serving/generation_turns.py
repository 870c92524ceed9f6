"""The generation queue on the model's thread: turn after turn, calls join the engine and get what is new for them.

A turn is one unit of work on the thread that owns the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.serving.executor import as_error
from services.serving.generation_order import QUEUE, Answer, Order, Piece
from services.telemetry import metrics

if TYPE_CHECKING:
    from rlhf_core.inference.engine import Engine


class GenerationTurns:
    """The orders that the engine works on."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self._batch_rows = metrics.BATCH_ROWS.labels(QUEUE)
        self._open: list[Order] = []

    @property
    def orders(self) -> Sequence[Order]:
        """Orders that are not over, once no turn is at work."""
        return self._open

    def take(self, arrived: Sequence[Order]) -> tuple[list[Order], bool]:
        """Let arrived orders join a step; returns the orders that have news, and whether there is more to do."""
        for order in arrived:
            self._open.append(order)
            self._add(order)
        try:
            self._drop_gone()
            if written := self._engine.step():
                self._batch_rows.observe(written)
        except BaseException as error:
            for order in self._open:
                order.error = order.error or as_error(error)
        news = [order for order in self._open if self._has_news(order)]
        self._open = [order for order in self._open if not order.over]
        return news, bool(self._open)

    def _add(self, order: Order) -> None:
        if order.gone:
            return
        try:
            order.sequences = self._engine.add(order.prompts, order.policy_version, order.params, order.shown)
        except Exception as error:
            order.error = error

    def _drop_gone(self) -> None:
        gone = {order for order in self._open if order.gone}
        self._open = [order for order in self._open if order not in gone]
        if gone:
            self._engine.abort([sequence for order in gone for sequence in order.sequences])

    def _has_news(self, order: Order) -> bool:
        if order.error is None and not order.gone:
            try:
                return self._gathered(order)
            except Exception as error:
                order.error = error
                self._engine.abort(order.sequences)
        return order.error is not None

    def _gathered(self, order: Order) -> bool:
        """Take from the engine what is new for an order, if anything is."""
        ended = all(sequence.ended for sequence in order.sequences)
        if ended:
            samples = self._engine.samples(order.prompts, order.sequences)
            order.answers = [
                Answer(sample, tuple(sequence.tokens), tuple(sequence.logprobs))
                for sample, sequence in zip(samples, order.sequences, strict=True)
            ]
        grew = order.shown and len(order.sequences[0].tokens) > order.seen
        if grew:
            order.pieces.append(_piece(order))
        return ended or grew


def _piece(order: Order) -> Piece:
    (sequence,) = order.sequences
    tokens, logprobs = tuple(sequence.tokens[order.seen :]), tuple(sequence.logprobs[order.seen :])
    order.seen, order.logprob = len(sequence.tokens), order.logprob + sum(logprobs)
    answer = order.answers[0] if order.answers else None
    return Piece(sequence.piece(), tokens, logprobs, order.seen, order.logprob, answer)
