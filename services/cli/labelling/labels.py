"""`charter labels`: how good people's labels are, and what is decided where they disagree."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from services.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from rlhf_core.annotation.records import ObjectiveQuality
    from rlhf_core.evaluation.statistics import Estimate

Objective = Annotated[str, typer.Option("--objective", metavar="NAME", help="Only this objective; default: all.")]
OneObjective = Annotated[str, typer.Option("--objective", metavar="NAME", help="The objective that is decided on.")]
Run = Annotated[str, typer.Option("--run", metavar="RUN", help="Only pairs of this run, or `last`.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept.")]
Reviewer = Annotated[str, typer.Option("--name", envvar="CHARTER_LABELER", help="Who you are; default: $USER.")]
FIRST_WORDS = 60
SET_ASIDE, WITHDRAW = "aside", "withdraw"


def quality(
    context: typer.Context,
    objective: Objective = "",
    run_id: Run = "",
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Say how good people's labels are, or decide where they disagree.

    \b
    Examples:
      charter labels
      charter labels --objective harmless --run last
      charter labels disagreements --objective harmless
      charter labels adjudicate PAIR a --objective harmless --reason "b names the hazard"
      charter labels standing bo paused --reason "answers without reading"

    Alpha is Krippendorff's: 1 is full agreement, 0 what chance would give; people who share a pair are compared. Skill
    is the probability of being right, by Dawid and Skene. Who is flagged is good with a probability of one in twenty
    at most, as `labelling.false_alarm` of the server says.
    """
    from services.cli.session import find_run, open_client, plain_console

    if context.invoked_subcommand is not None:
        return
    with open_client(address, token, data) as client:
        run = find_run(client, run_id).id if run_id else ""
        found = client.annotation.quality(objective, run)
    if as_json:
        typer.echo(json.dumps({"objectives": [each.model_dump() for each in found]}, indent=2))
        return
    for each in found:
        _print(plain_console(), each)


def disagreements(
    objective: OneObjective,
    run_id: Run = "",
    count: Annotated[int, typer.Option("--count", min=1, max=100, help="How many to show.")] = 20,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """List pairs that a reviewer should decide, the least clear first.

    \b
    Examples:
      charter labels disagreements --objective harmless
      charter labels disagreements --objective helpful --run last --count 5

    People contradict each other, a judge contradicts people who are sure, or most people say something else than what
    was decided before.
    """
    from services.cli.session import find_run, open_client
    from services.console.pairs import visible

    with open_client(address, token, data) as client:
        run = find_run(client, run_id).id if run_id else ""
        found = client.annotation.disagreements(objective, run, count=count)
    for pair, each in found.disagreements:
        said = ", ".join(f"{answer.labeler.removeprefix('human:')} {answer.choice}" for answer in each.answers)
        judges = "".join(f", judge {name} {probability:.2f}" for name, probability in each.judges.items())
        typer.echo(f"{pair.id}  [{each.kind}] {visible(said)}{visible(judges)}")
        typer.echo(f"  {_line(pair.prompt.messages[-1].content)}")
        typer.echo(f"  a: {_line(pair.a.response)}\n  b: {_line(pair.b.response)}")
    typer.echo(f"{found.total} to decide for {objective}")


def adjudicate(
    comparison: Annotated[str, typer.Argument(metavar="PAIR", help="The pair's id.")],
    decision: Annotated[str, typer.Argument(metavar="DECISION", help="a, b, tie, both_bad, aside or withdraw.")],
    objective: OneObjective,
    reason: Reason = "",
    name: Reviewer = "",
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Decide what the right label of a pair is. From then on it is a gold item.

    \b
    Examples:
      charter labels adjudicate PAIR b --objective harmless --reason "a names the hazard"
      charter labels adjudicate PAIR aside --objective harmless
      charter labels adjudicate PAIR withdraw --objective harmless

    `aside` says that nobody can tell: nobody is asked any more, and it trains nothing. `withdraw` takes it back.
    """
    from rlhf_core.errors import InvalidInput
    from rlhf_core.records.feedback import Choice
    from services.cli.session import open_client

    allowed = [*(choice for choice in get_args(Choice) if choice != "skip"), SET_ASIDE, WITHDRAW]
    if decision not in allowed:
        raise InvalidInput(f"DECISION: '{decision}' is not allowed; allowed: {', '.join(allowed)}", "decision")
    reviewer = name or os.environ.get("USER") or "me"
    with open_client(address, token, data) as client:
        if decision == WITHDRAW:
            client.annotation.withdraw_adjudication(comparison, objective, reviewer)
            typer.echo(f"{comparison}: people are asked again for {objective}")
            return
        choice = cast(Choice, "skip" if decision == SET_ASIDE else decision)
        client.annotation.adjudicate(comparison, objective, choice, reason, reviewer)
    typer.echo(f"{comparison}: {decision} for {objective}")


def standing(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="Who labels.")],
    rule: Annotated[str, typer.Argument(metavar="STANDING", help="by_rule, admitted or paused.")],
    reason: Reason = "",
    name: Reviewer = "",
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Let somebody in without a calibration round, or shut them out with all their labels. Nothing is deleted.

    \b
    Examples:
      charter labels standing bo paused --reason "answers without reading"
      charter labels standing bo admitted
      charter labels standing bo by_rule
    """
    from rlhf_core.errors import InvalidInput
    from rlhf_core.records.annotation import Standing
    from services.cli.session import open_client

    if rule not in get_args(Standing):
        raise InvalidInput(f"STANDING: '{rule}' is not allowed; allowed: {', '.join(get_args(Standing))}", "standing")
    with open_client(address, token, data) as client:
        reviewer = name or os.environ.get("USER") or "me"
        client.annotation.set_annotator(person, cast(Standing, rule), reason, reviewer)
    typer.echo(f"{person.removeprefix('human:')}: {rule}")


def _print(console: Console, found: ObjectiveQuality) -> None:
    from rich.table import Table

    from services.console.pairs import visible

    alpha = found.ordinal
    range_ = f" [{alpha.low:.2f}, {alpha.high:.2f}]" if alpha.low is not None and alpha.high is not None else ""
    value = f"{alpha.value:.2f}{range_}" if alpha.value is not None else f"undefined: {alpha.undefined}"
    console.print(
        f"{found.objective}: {found.answers} answers on {found.items} pairs, {found.gold} of gold", style="bold"
    )
    console.print(f"  alpha {value} (on {alpha.items} shared pairs)")
    for judge in found.judges:
        console.print(f"  judge {visible(judge.judge)} agrees on {_share(judge.agreement)} of pairs drawn evenly")
    if not found.annotators:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("person", "answers", "skill", "gold", "repeats", "left", "seconds", ""):
        table.add_column(title)
    for person in found.annotators:
        flag = f"{person.flag}, after {person.flagged_after} answers" if person.flag else ""
        words = ", ".join(filter(None, [flag, "" if person.standing == "by_rule" else person.standing]))
        skill = "" if person.skill is None else f"{person.skill:.2f}"
        seconds = "" if person.seconds is None else f"{person.seconds:.0f}"
        shares = [_share(each) for each in (person.gold, person.repeats, person.left)]
        name = visible(person.labeler.removeprefix("human:"))
        table.add_row(name, str(person.answers), skill, *shares, seconds, words)
    console.print(table)


def _share(estimate: Estimate | None) -> str:
    return f"{estimate.value:.0%} of {estimate.n}" if estimate else "–"


def _line(text: str) -> str:
    from services.console.pairs import visible

    line = visible(text).replace("\n", " ")
    return line if len(line) <= FIRST_WORDS else f"{line[: FIRST_WORDS - 1]}…"


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, one JSON object a line.")],
    objective: Objective = "",
    run_id: Run = "",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Export all that people answered: who, when, on which side, with notes, repeats and what was decided.

    \b
    Examples:
      charter export labels labels.jsonl
      charter export labels labels.jsonl --objective harmless --run last

    Names are those under which people label. `charter export preferences` writes pairs to train on.
    """
    from rlhf_core.errors import InvalidInput
    from services.cli.data.datasets import write_pieces
    from services.cli.session import find_run, open_client

    if file.exists() and not force:
        raise InvalidInput(f"FILE: '{file}' is there already; write over it with --force", "file")
    with open_client(address, token, data) as client:
        run = find_run(client, run_id).id if run_id else ""
        rows = [
            {
                **listed.answer.model_dump(exclude={"revision", "given_at"}),
                "time": listed.answer.given_at,
                "prompt": [message.model_dump() for message in listed.comparison.prompt.messages],
                "a": listed.comparison.a.response,
                "b": listed.comparison.b.response,
                "adjudication": listed.adjudication.model_dump(exclude={"number"}) if listed.adjudication else None,
            }
            for listed in client.annotation.answers(objective, run)
        ]
        write_pieces(file, (json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
    typer.echo(f"{len(rows):,} rows in {file}")
