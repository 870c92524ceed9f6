"""AnnotationService over a real socket: measures, decisions, who may see what, and the round before access."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.config.labelling import LabellingConfig
from rlhf_core.errors import Forbidden, InvalidInput, NotFound, RequestReused
from rlhf_core.records.feedback import Choice
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.security.scopes import Scope
from services.security.tokens import new_token
from services.server.config import WITHOUT_MODEL, ServeConfig
from tests.services.apps import started

ROUND = LabellingConfig(calibration_items=2, calibration_right=1.0)
NO_TOKENS: Mapping[str, Scope] = {}


def pair(number: int) -> Comparison:
    prompt = Prompt.of(f"How do I clean window {number}?")
    both = [Sample(id=f"w{number}{side}", prompt=prompt, response=f"by {side}", policy_version="base") for side in "ab"]
    return Comparison.of(*both, run_id="")


PAIRS = [pair(number) for number in range(8)]


@contextmanager
def serving(
    data: Path, tokens: Mapping[str, Scope] = NO_TOKENS, **settings: Any
) -> Iterator[Callable[[str], CharterClient]]:
    """A server of eight pairs, and a way to call it with the token of a role.

    `tokens` are the scopes of people by their names.
    """
    store = Store.open(data)
    store.comparisons.add(PAIRS)
    store.close()
    file = data / "tokens.yaml"
    made = {scope: new_token(file, name, [scope]) for name, scope in tokens.items()}
    address = f"unix:{data}/s"
    config = ServeConfig(address=address, data=data, only=WITHOUT_MODEL, tokens=file if made else None, **settings)
    with started(config):
        opened: list[CharterClient] = []

        def client(scope: str = "") -> CharterClient:
            opened.append(CharterClient.connect(address, made[scope] if made else "", timeout_seconds=30))
            return opened[-1]

        yield client
        for each in opened:
            each.close()


def say(client: CharterClient, number: int, who: str, choice: Choice, reason: str = "") -> None:
    given = {"objective": "helpful", "labeler": who, "choice": choice, "reason": reason}
    client.preference.submit_preference(PAIRS[number].id, **given, swapped=False)


def test_labels_are_measured_decided_and_read_back_whole(tmp_path):
    with serving(tmp_path) as connect:
        client = connect()
        for number in range(6):
            say(client, number, "ada", "a" if number % 2 else "b")
            say(client, number, "bo", "a" if number % 2 or number == 0 else "b", "unsure" if number == 0 else "")
        helpful, harmless = client.annotation.quality()
        assert (helpful.objective, helpful.items, helpful.answers) == ("helpful", 6, 12)
        assert helpful.ordinal.value == pytest.approx(0.69, abs=0.01) and helpful.ordinal.items == 6
        assert harmless.ordinal.undefined == "no item has the answers of two people" and harmless.annotators == ()
        assert [person.labeler for person in helpful.annotators] == ["human:ada", "human:bo"]
        assert helpful.annotators[0].left.n == 6
        [(comparison, found)], total = client.annotation.disagreements("helpful")
        assert comparison == PAIRS[0] and total == 1 and found.kind == "people"
        assert [(answer.labeler, answer.choice, answer.reason) for answer in found.answers] == [
            ("human:ada", "b", ""),
            ("human:bo", "a", "unsure"),
        ]
        decided = client.annotation.adjudicate(PAIRS[0].id, "helpful", "a", "plain", "rei", request_id="q")
        assert (decided.choice, decided.adjudicated_by, decided.reason) == ("a", "rei", "plain")
        assert client.annotation.adjudicate(PAIRS[0].id, "helpful", "a", "plain", "rei", request_id="q") == decided
        with pytest.raises(RequestReused):
            client.annotation.adjudicate(PAIRS[0].id, "helpful", "b", request_id="q")
        assert client.annotation.disagreements("helpful").total == 0
        assert client.annotation.quality("helpful")[0].gold == 1
        listed = list(client.annotation.answers("helpful"))
        assert len(listed) == 12 and listed[0].comparison == PAIRS[0] and listed[0].adjudication == decided
        assert [each.answer.choice for each in listed[:2]] == ["b", "a"] and listed[2].adjudication is None
        assert len(list(client.annotation.answers(labeler="bo"))) == 6
        assert client.annotation.withdraw_adjudication(PAIRS[0].id, "helpful") == decided
        with pytest.raises(NotFound):
            client.annotation.withdraw_adjudication(PAIRS[0].id, "helpful")


def test_what_is_wrong_with_a_request_is_named(tmp_path):
    with serving(tmp_path) as connect:
        client = connect()
        for call, field in (
            (lambda: client.annotation.adjudicate(PAIRS[0].id, "kindness", "a"), "objective"),
            (lambda: client.annotation.disagreements("kindness"), "objective"),
            (lambda: client.annotation.quality("kindness"), "objective"),
            (lambda: client.annotation.disagreements("helpful", count=-1), "count"),
            (lambda: client.annotation.set_annotator(":", "paused"), "labeler"),
        ):
            with pytest.raises(InvalidInput) as caught:
                call()
            assert caught.value.field == field
        with pytest.raises(NotFound):
            client.annotation.adjudicate("gone", "helpful", "a")


def test_somebody_new_goes_through_the_round_and_a_reviewer_may_let_them_in_or_shut_them_out(tmp_path):
    with serving(tmp_path, labelling=ROUND) as connect:
        client = connect()
        for number in (0, 1):
            client.annotation.adjudicate(PAIRS[number].id, "helpful", "a")
        waiting = client.preference.waiting("ada", "helpful")
        assert waiting.comparison in PAIRS[:2] and waiting.left == 2 + 6
        for _ in range(2):
            found = client.preference.next_comparison("ada", "helpful")
            client.preference.submit_preference(found.id, objective="helpful", labeler="ada", choice="b")
        with pytest.raises(Forbidden, match="0 of the last 2 calibration items"):
            client.preference.next_comparison("ada", "helpful")
        client.annotation.set_annotator("ada", "admitted", "she read the guidelines again")
        assert client.preference.next_comparison("ada", "helpful") in PAIRS[2:]
        client.annotation.set_annotator("ada", "paused")
        with pytest.raises(Forbidden, match="gets nothing more to label"):
            client.preference.next_comparison("ada", "helpful")
        assert client.annotation.quality("helpful")[0].annotators[0].standing == "paused"


def test_who_annotates_labels_in_their_own_name_and_sees_nobody_else(tmp_path):
    with serving(tmp_path, {"ada": "annotate", "rei": "review", "bo": "label"}) as connect:
        ada, rei, bo = connect("annotate"), connect("review"), connect("label")
        say(ada, 0, "ada", "a")
        assert ada.preference.next_comparison("ada", "helpful") is not None
        for call in (
            lambda: say(ada, 0, "bo", "a"),
            lambda: ada.preference.next_comparison("bo", "helpful"),
            lambda: ada.preference.undo_preference("bo"),
        ):
            with pytest.raises(Forbidden, match="labels as ada alone"):
                call()
        for hidden in (
            lambda: list(ada.preference.list_preferences()),
            lambda: ada.trainer.list_runs(10),
            lambda: ada.annotation.quality(),
            lambda: list(ada.annotation.answers()),
            lambda: bo.annotation.adjudicate(PAIRS[0].id, "helpful", "a"),
            lambda: bo.annotation.quality(),
        ):
            with pytest.raises(Forbidden):
                hidden()
        decided = rei.annotation.adjudicate(PAIRS[0].id, "helpful", "a", adjudicated_by="somebody else")
        assert decided.adjudicated_by == "rei"
        assert rei.annotation.quality("helpful")[0].answers == 1


def test_everybody_may_ask_how_far_they_are_themselves(tmp_path):
    from charter.v1 import annotation_pb2, annotation_pb2_grpc

    from services.client.connection import Connection

    with serving(tmp_path, {"ada": "annotate", "rei": "review"}, labelling=ROUND) as connect:
        rei = connect("review")
        for number in (0, 1):
            rei.annotation.adjudicate(PAIRS[number].id, "helpful", "a")

        def asked(client: CharterClient, labeler: str = ""):
            connection: Connection = client.annotation._connection
            stub = annotation_pb2_grpc.AnnotationServiceStub(connection.channel)
            return connection.call(stub.GetAnnotator, annotation_pb2.GetAnnotatorRequest(labeler=labeler))

        ada = connect("annotate")
        own = asked(ada)
        assert own.labeler == "human:ada" and own.standing == annotation_pb2.STANDING_BY_RULE
        helpful, harmless = own.calibrations
        assert (helpful.objective, helpful.admitted, helpful.answered, helpful.needed) == ("helpful", False, 0, 2)
        assert harmless.admitted and harmless.needed == 0
        say(ada, 0, "ada", "a")
        assert asked(ada, "ada").calibrations[0].answered == 1
        assert asked(rei, "ada").calibrations[0].answered == 1
        with pytest.raises(Forbidden, match="asks about its owner alone, ada"):
            asked(ada, "rei")


def test_a_client_of_two_servers_asks_for_measures_where_labels_are():
    client = CharterClient.connect("policy=localhost:1,preference=localhost:2")
    assert client.address_of("charter.v1.AnnotationService") == "localhost:2"
    client.close()
