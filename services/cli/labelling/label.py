"""`charter label`: human preferences from a terminal or a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from services.cli.labelling.assess_terminal import AssessmentSession
    from services.cli.labelling.label_terminal import Session
    from services.client.client import CharterClient

FORMS = ("pairs", "ratings", "rankings")


def label(
    objective: Annotated[str, typer.Option("--objective", metavar="NAME", help="Default: each in turn.")] = "",
    name: Annotated[str, typer.Option("--name", envvar="CHARTER_LABELER", help="Who you are; default: $USER.")] = "",
    run_id: Annotated[str, typer.Option("--run", metavar="RUN", help="Only pairs of this run, or `last`.")] = "",
    form: Annotated[str, typer.Option("--form", metavar="FORM", help="pairs, ratings or rankings.")] = "pairs",
    gate: Annotated[bool, typer.Option("--gate", help="Only pairs on which the AI judge is tested.")] = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Label replies by hand: which of two is better, how good one is, or in which order several come.

    \b
    Examples:
      charter label --objective harmless --name ada
      charter label --run last
      charter label --run last --gate --objective helpful
      charter label --form ratings --objective helpful
      printf 'abtq' | charter label --objective helpful --name ada

    The next reward model learns from these labels. Keys: a, b the better reply; t tie; x both bad; s skip; u
    undo; q quit. With --form ratings: 1, the worst, to 7; with --form rankings: the replies' numbers, best first,
    = before one that is as good as the last. You do not see which policy wrote what, and the order in which
    replies stand is drawn per person. Each label is stored before the next is asked for. Pairs on which the AI
    abstained come first; every fifth is drawn with no regard to the AI, and only on such labels its judge is tested
    (--gate asks for no others).
    """
    from services.cli.session import open_client, plain_console

    _check(form, gate)
    labeler = f"human:{name or os.environ.get('USER') or 'me'}"
    console = plain_console()
    with open_client(address, token, data) as client:
        run = _run(client, run_id)
        questions = _questions(client.preference.objectives(run), objective)
        session = _session(client, form, labeler, questions, run, gate)
        try:
            session.run(console, _keys())
        finally:
            console.print(f"{session.stored} labels stored as {labeler}; they stay, whenever you come back")


def _keys() -> Iterator[str]:
    from services.cli.labelling.terminal_keys import read_keys

    if isinstance(sys.stdin, TextIOWrapper):
        # A byte that is no text is a key that means nothing.
        sys.stdin.reconfigure(errors="replace")
    return read_keys(sys.stdin)


def _session(
    client: CharterClient, form: str, labeler: str, questions: dict[str, str], run_id: str, gate: bool
) -> Session | AssessmentSession:
    from services.cli.labelling.assess_terminal import AssessmentSession
    from services.cli.labelling.label_terminal import Session

    if form == "pairs":
        return Session(client.preference, labeler, questions, run_id, gate)
    kind = "rating" if form == "ratings" else "ranking"
    return AssessmentSession(client.assessments, labeler, questions, kind, run_id)


def _check(form: str, gate: bool) -> None:
    from rlhf_core.errors import InvalidInput

    if form not in FORMS:
        raise InvalidInput(f"--form: '{form}' is not allowed; allowed: {', '.join(FORMS)}", "form")
    if gate and form != "pairs":
        raise InvalidInput(f"--gate: the AI judge is tested on pairs alone, and --form is {form}", "gate")


def _run(client: CharterClient, given: str) -> str:
    """What the server is to take for the run; it looks runs up for who may ask for none, too, but knows no `last`."""
    from rlhf_core.policies.resolve import PRODUCTION
    from services.cli.session import LAST, find_run

    return find_run(client, given).id if given in (LAST, PRODUCTION) else given


def _questions(questions: dict[str, str], objective: str) -> dict[str, str]:
    """What each objective means, or only the one asked for."""
    from rlhf_core.errors import InvalidInput
    from services.cli.run_config import nearest

    if objective and objective not in questions:
        raise InvalidInput(f"unknown objective '{objective}'{nearest(objective, list(questions))}", "objective")
    return {objective: questions[objective]} if objective else questions
