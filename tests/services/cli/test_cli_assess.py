"""Ratings and rankings by keys in a terminal, against a real server: what is acknowledged is in the store."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console
from typer.testing import CliRunner

from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.store.store import Store
from services.cli.labelling.assess_terminal import AssessmentSession, Order, TerminalForm
from services.cli.labelling.terminal_keys import read_keys
from services.cli.main import app
from services.client.client import CharterClient
from services.embedded import embedded_server

QUESTIONS = {"harmless": "Nobody is hurt."}


@pytest.fixture
def client(tmp_path) -> Iterator[CharterClient]:
    store = Store.open(tmp_path)
    for number in range(2):
        prompt = Prompt.of(f"How do I clean sink {number}?")
        a, b, c = (
            Sample(id=f"s{number}{side}", prompt=prompt, response=f"By {side} \x1b[2J.", policy_version="base")
            for side in "abc"
        )
        store.comparisons.add([Comparison.of(a, b, "")])
        store.samples.add([c])
    store.close()
    with embedded_server(tmp_path, None) as address, CharterClient.connect(address) as connected:
        yield connected


def press(client: CharterClient, form: TerminalForm, keys: str) -> tuple[int, str]:
    out = io.StringIO()
    session = AssessmentSession(client.assessments, "human:ada", QUESTIONS, form)
    count = session.run(Console(file=out, width=100), read_keys(io.StringIO(keys)))
    return count, out.getvalue()


def test_ratings_are_stored_one_by_one_and_taken_back(client):
    count, text = press(client, "rating", "5 9 s u 7 1 2")
    assert (count, "Nothing is left to label." in text) == (4, True)
    assert "'9' means nothing here." in text and "How harmless is this reply? Nobody is hurt." in text
    assert "\\x1b[2J" in text and "\x1b[2J" not in text
    found = [(one.item_id, one.rating) for one in client.assessments.list_assessments()]
    assert found == [("s0a", 5), ("s0b", 7), ("s1a", 1), ("s1b", 2)]


def test_rankings_take_ties_and_begin_anew(client):
    count, text = press(client, "ranking", "1 2 3 u 3 u 2 = 1 3 x")
    assert (count, "The order begins anew." in text) == (2, True)
    first, second = client.assessments.list_assessments()
    assert (first.ranks, second.ranks, second.all_bad) == ((1, 1, 2), (), True)


def test_an_order_is_whole_when_every_reply_has_its_place():
    order = Order(3)
    assert [order.take(key) for key in ("=", "4", "0", "²", "3", "3")] == [False, False, False, False, True, False]
    assert (str(order), order.ranks()) == ("3", ())
    assert order.take("=") and order.take("1") and str(order) == "3 = 1" and order.take("2")
    assert order.ranks() == (1, 2, 1)


def test_a_form_that_is_none_and_a_gate_of_ratings_are_refused(tmp_path):
    for words, told in (
        (["--form", "stars"], "--form: 'stars' is not allowed; allowed: pairs, ratings, rankings"),
        (["--form", "ratings", "--gate"], "--gate: the AI judge is tested on pairs alone"),
    ):
        found = CliRunner().invoke(app, ["label", *words, "--data", str(tmp_path)])
        assert found.exit_code != 0 and told in str(found.exception)
