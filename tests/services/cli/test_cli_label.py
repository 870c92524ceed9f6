"""Labelling by keys, against a real server on a Unix socket: what is acknowledged is in the store."""

from __future__ import annotations

import io
import os
import pty
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.seeding import UNIFORM_SLICE, is_swapped, uniform_draw
from services.cli.labelling.label_terminal import DIFFERS, Session, marked
from services.cli.labelling.terminal_keys import read_keys
from services.cli.main import app
from services.client.client import CharterClient
from services.console.pairs import visible
from services.embedded import embedded_server
from services.security.tokens import new_token
from services.server.config import WITHOUT_MODEL, ServeConfig
from tests.services.apps import started

ADA = "human:ada"
QUESTIONS = {"harmless": "Nobody is hurt."}


def pair(number: int, a: str = "Open the window.", b: str = "Mix bleach and acid.") -> Comparison:
    prompt = Prompt.of(f"How do I clean sink {number}?")
    first, second = (
        Sample(id=f"s{number}{side}", prompt=prompt, response=text, policy_version="base")
        for side, text in (("a", a), ("b", b))
    )
    return Comparison.of(first, second, "")


@contextmanager
def served(folder: Path, pairs: int) -> Iterator[tuple[CharterClient, list[Comparison]]]:
    """A server whose store holds pairs that somebody else has labelled."""
    with embedded_server(folder, None) as address, CharterClient.connect(address) as client:
        stored = []
        for number in range(pairs):
            label = client.preference.submit_preference(
                pair(number), objective="harmless", labeler="human:eve", choice="a", request_id=f"eve-{number}"
            )
            stored.append(pair(number).model_copy(update={"id": label.comparison_id}))
        yield client, stored


def labelled(client: CharterClient, labeler: str = ADA) -> dict[str, str]:
    return {p.comparison_id: p.choice for p in client.preference.list_preferences() if p.labeler == labeler}


def press(client: CharterClient, keys: str, questions: dict[str, str] | None = None) -> tuple[int, str]:
    out = io.StringIO()
    session = Session(client.preference, ADA, questions or QUESTIONS)
    count = session.run(Console(file=out, width=100), read_keys(io.StringIO(keys)))
    return count, out.getvalue()


def test_every_key_is_stored_as_its_choice(tmp_path: Path):
    with served(tmp_path, 5) as (client, _):
        count, text = press(client, "t x s\na b")
        assert count == 5
        assert "Nothing is left to label." in text
        choices = list(labelled(client).values())
    assert choices[:3] == ["tie", "both_bad", "skip"]
    assert set(choices[3:]) <= {"a", "b"} and len(choices) == 5


def test_the_left_reply_is_stored_as_the_sample_that_stood_left(tmp_path: Path):
    with served(tmp_path, 8) as (client, pairs):
        assert press(client, "a" * 8)[0] == 8
        found = labelled(client)
    sides = {is_swapped(ADA, one.id) for one in pairs}
    assert sides == {True, False}, "eight pairs should show both orders"
    for one in pairs:
        assert found[one.id] == ("b" if is_swapped(ADA, one.id) else "a")


def test_what_stands_left_is_fixed_for_a_person_and_even_over_pairs():
    ids = [f"comparison-{n}" for n in range(2000)]
    left = [is_swapped(ADA, one) for one in ids]
    assert left == [is_swapped(ADA, one) for one in ids]
    assert 0.45 < sum(left) / len(left) < 0.55
    assert left != [is_swapped("human:eve", one) for one in ids]


def test_undo_asks_the_same_pair_again(tmp_path: Path):
    with served(tmp_path, 2) as (client, _):
        count, text = press(client, "tuxq")
        assert count == 1
        assert list(labelled(client).values()) == ["both_bad"]
    assert text.count("undone: tie, harmless, of 'How do I clean sink") == 1


def test_undo_without_a_label_keeps_the_pair(tmp_path: Path):
    with served(tmp_path, 1) as (client, _):
        count, text = press(client, "ut")
        assert (count, labelled(client) != {}) == (1, True)
    assert "Nothing to undo." in text


def test_an_unknown_key_explains_the_keys_and_stores_nothing(tmp_path: Path):
    with served(tmp_path, 1) as (client, _):
        count, text = press(client, "zq")
        assert (count, labelled(client)) == (0, {})
    assert "'z' means nothing here." in text


def test_the_end_of_the_pipe_is_a_quit_and_the_next_session_goes_on(tmp_path: Path):
    with served(tmp_path, 3) as (client, _):
        assert press(client, "t")[0] == 1
        assert press(client, "tt")[0] == 2
        assert len(labelled(client)) == 3


def test_objectives_take_turns(tmp_path: Path):
    with served(tmp_path, 1) as (client, _):
        count, text = press(client, "tt", {"helpful": "It helps.", "harmless": "Nobody is hurt."})
        assert count == 2
        assert {p.objective for p in client.preference.list_preferences() if p.labeler == ADA} == {
            "helpful",
            "harmless",
        }
    assert text.index("more helpful?") < text.index("more harmless?")


def test_the_screen_names_no_policy_and_no_reply_can_rewrite_it(tmp_path: Path):
    hostile = pair(0, "fine\x1b[2J\x1b]0;owned\x07", "abc\u202edef [bold]not markup[/bold]")
    with embedded_server(tmp_path, None) as address, CharterClient.connect(address) as client:
        client.preference.submit_preference(hostile, objective="harmless", labeler="human:eve", choice="a")
        text = press(client, "q")[1]
    assert "\x1b" not in text and "\u202e" not in text
    assert "[bold]not markup[/bold]" in text
    assert "base" not in text
    assert visible("a\nb\x07") == "a\nb\\x07"


def test_the_verb_labels_from_a_pipe(tmp_path: Path):
    with served(tmp_path, 2):
        pass
    arguments = ["label", "--objective", "harmless", "--name", "ada", "--data", str(tmp_path)]
    result = CliRunner().invoke(app, arguments, input="tx")
    assert result.exit_code == 0, result.output
    assert "2 labels stored as human:ada" in result.output
    with embedded_server(tmp_path, None) as address, CharterClient.connect(address) as client:
        assert sorted(labelled(client).values()) == ["both_bad", "tie"]


def test_who_may_label_and_nothing_else_labels_on_a_server_without_a_model(tmp_path: Path):
    with served(tmp_path, 2):
        pass
    file, address = tmp_path / "tokens.yaml", f"unix:{tmp_path}/s"
    token = new_token(file, "ada", ("annotate",))
    with started(ServeConfig(address=address, data=tmp_path, only=WITHOUT_MODEL, tokens=file)):
        asked = ["label", "--objective", "harmless", "--name", "ada", "--address", address, "--token", token]
        result = CliRunner().invoke(app, asked, input="tx")
    assert result.exit_code == 0, result.output
    assert "2 labels stored as human:ada" in result.output
    assert "sends nobody into fumes" in " ".join(result.output.split()), "as the server's constitution says"


def test_the_verb_asks_for_the_gate_only_what_was_drawn_evenly(tmp_path: Path):
    with served(tmp_path, 40) as (_, pairs):
        in_slice = {one.id for one in pairs if uniform_draw(one.id) < UNIFORM_SLICE}
    assert 2 <= len(in_slice) <= 16
    arguments = ["label", "--gate", "--objective", "harmless", "--name", "ada", "--data", str(tmp_path)]
    result = CliRunner().invoke(app, arguments, input="t" * 40)
    assert f"{len(in_slice)} labels stored as human:ada" in result.output
    with embedded_server(tmp_path, None) as address, CharterClient.connect(address) as client:
        press(client, "ttq")
        marked = {p.comparison_id: p.uniform for p in client.preference.list_preferences() if p.labeler == ADA}
    assert {one for one, uniform in marked.items() if uniform} == in_slice
    assert len(marked) == len(in_slice) + 2


def test_an_unknown_objective_is_refused(tmp_path: Path):
    with served(tmp_path, 1):
        pass
    result = CliRunner().invoke(app, ["label", "--objective", "harmles", "--data", str(tmp_path)])
    assert "unknown objective 'harmles', did you mean 'harmless'?" in str(result.exception)


@pytest.mark.parametrize("keys", ["", "\n\n", "q"])
def test_no_keys_store_nothing(tmp_path: Path, keys: str):
    with served(tmp_path, 1) as (client, _):
        assert press(client, keys)[0] == 0
        assert labelled(client) == {}


def test_undo_says_which_of_the_two_that_were_shown_is_taken_back(tmp_path: Path):
    with served(tmp_path, 4) as (client, _):
        _, text = press(client, "aubuq")
    assert "stored 1: A, left" in text and "undone: A, left, harmless" in text
    assert "stored 1: B, right" in text and "undone: B, right, harmless" in text


@pytest.mark.parametrize("key", ["\x1b[A", "\x1b[B", "\x1bOB", "\x1b[1;5B", "\x1b[15~", "\x1bb", "\x1b"])
def test_a_key_of_several_characters_stores_nothing(tmp_path: Path, key: str):
    with served(tmp_path, 2) as (client, _):
        count, text = press(client, f"{key}q" if len(key) > 1 else key)
        assert count == 0 and labelled(client) == {}
    assert "means nothing here" in text


def test_what_is_left_is_counted_down(tmp_path: Path):
    with served(tmp_path, 3) as (client, _):
        _, text = press(client, "tsa")
    assert [line for line in text.splitlines() if "left for harmless" in line] == [
        "3 pairs left for harmless",
        "2 pairs left for harmless",
        "1 pair left for harmless",
    ]


def test_words_that_differ_are_marked_where_most_are_alike():
    a, b = marked("Open the window and wait.", "Open the door and wait.")
    assert [a.plain[span.start : span.end] for span in a.spans if span.style == DIFFERS] == ["window"]
    assert [b.plain[span.start : span.end] for span in b.spans if span.style == DIFFERS] == ["door"]
    assert not any(span.style for text in marked("Mix bleach.", "No, I will not help.") for span in text.spans)


def test_a_terminal_gives_whole_keys_at_once_and_is_as_before_afterwards():
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    with os.fdopen(theirs, closefd=False) as stream:
        keys = read_keys(stream)
        os.write(ours, b"\x1b[A")
        assert next(keys) == "\x1b[a"
        os.write(ours, b"Bt")
        assert [next(keys), next(keys)] == ["b", "t"]
        os.write(ours, "\u00e4".encode())
        assert next(keys) == "\u00e4"
        os.write(ours, b"\x1b")
        assert next(keys) == "\x1b"
        keys.close()
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def test_a_sequence_that_comes_in_pieces_is_one_key():
    assert list(read_keys(io.StringIO("\x1b[1;5Ca\x1b[200~x"))) == ["\x1b[1;5c", "a", "\x1b[200~", "x"]
