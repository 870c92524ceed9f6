"""`charter study`: which of two or more policies people prefer, blind, by a plan that is declared in advance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.records.studies import (
        Duel,
        Interval,
        QuestionResult,
        RatingDifference,
        RatingResult,
        Study,
        StudyResults,
    )
    from services.client.client import CharterClient

Which = Annotated[str, typer.Argument(metavar="STUDY", help="A study's id, a part of it, its name, or `last`.")]
Policies = Annotated[list[str], typer.Argument(metavar="POLICY...", help="Versions, aliases, runs, or base.")]
Questions = Annotated[
    list[str] | None,
    typer.Option("--objective", metavar="NAME", help="A question; may be repeated. Default: all objectives."),
]
Pairs = Annotated[int, typer.Option("--pairs", metavar="N", help="Pairs of replies at most.")]
Labels = Annotated[int, typer.Option("--labels", metavar="N", help="People who answer on each pair.")]
Ratings = Annotated[int, typer.Option("--ratings", metavar="N", help="People who also rate each reply; 0: nobody.")]
Fixed = Annotated[bool, typer.Option("--fixed", help="Stop only when every pair has its labels.")]
Alpha = Annotated[float, typer.Option("--alpha", metavar="P", help="Chance of a preference where none is.")]
Prompts = Annotated[
    str, typer.Option("--prompts", metavar="DATASET", help="dataset:NAME or a file. Default: the held-out tasks.")
]
Constitution = Annotated[str, typer.Option("--constitution", metavar="NAME", help="Whose objectives are asked about.")]
Temperature = Annotated[float, typer.Option("--temperature", metavar="T", help="Of the replies; 0 is greedy.")]
Name = Annotated[str, typer.Option("--name", metavar="TEXT", help="What to call the study.")]


def listed(
    context: typer.Context,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """List preference studies, newest first; or make one, look how far it is, see what came of it, close it.

    \b
    Examples:
      charter study
      charter study create policy-1f0c base --objective helpful --pairs 60
      charter study status last
      charter study results last

    A study asks people which reply is better, without a word on who wrote what. Its plan is declared before anybody
    is asked and never changes; nothing is ever trained on its labels.
    """
    from services.cli.session import open_client

    if context.invoked_subcommand is not None:
        return
    with open_client(address, token, data) as client:
        found = list(client.studies.list_studies())
    if as_json:
        typer.echo(json.dumps({"studies": [study.model_dump() for study in found]}, indent=2))
        return
    if not found:
        typer.echo("no studies yet; declare one with: charter study create POLICY POLICY")
    for study in found:
        typer.echo(f"{study.id}  {study.display_name or '-'}  {study.state}  {' against '.join(study.plan.policies)}")


def create(
    policies: Policies,
    objectives: Questions = None,
    pairs: Pairs = 100,
    labels: Labels = 1,
    ratings: Ratings = 0,
    fixed: Fixed = False,
    alpha: Alpha = 0.05,
    prompts: Prompts = "",
    constitution: Constitution = "",
    temperature: Temperature = 0,
    seed: options.Seed = None,
    name: Name = "",
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Declare a study between two or more policies, and write their replies.

    \b
    Examples:
      charter study create production base
      charter study create candidate production --fixed --prompts dataset:questions --name "release 3"
      charter study create production base --objective helpful --objective harmless --pairs 40 --ratings 2

    People then label the pairs with `charter label --run STUDY` or in the console. Without --fixed a question is closed
    as soon as the policies are told apart, by a test that holds however often it is looked at. Replies of the same
    words are left out. With --ratings people also rate each reply by itself, from 1 to 7 (`charter label --run STUDY
    --form ratings`). Without --address the replies are written here, before the command ends.
    """
    from services.cli.run import watch_to_end
    from services.cli.session import model_of_policy, open_client, plain_console

    model = None if address else model_of_policy(data, policies[0])
    is_file = bool(prompts) and not (address or prompts.startswith("dataset:"))
    plan = {"objectives": objectives or (), "pairs": pairs, "labels_per_pair": labels, "alpha": alpha}
    plan |= {"ratings_per_reply": ratings}
    about = {"prompts": str(Path(prompts).absolute()) if is_file else prompts, "constitution": constitution}
    with open_client(address, token, data, model, works=True) as client:
        stopping = "fixed" if fixed else "sequential"
        given: dict[str, Any] = {**plan, **about, "temperature": temperature, "seed": seed or 0, "display_name": name}
        study = client.studies.create_study(policies, stopping=stopping, **given)
        typer.echo(study.id)
        if not address:
            watch_to_end(client, study.id, plain_console())


def status(
    study_id: Which,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Say what a study declared, and how far it is.

    \b
    Examples:
      charter study status last
      charter study status "release 3" --json | jq '.study.questions'
    """
    from services.cli.session import open_client

    with open_client(address, token, data) as client:
        study = client.studies.get_study(_meant(client, study_id))
    if as_json:
        typer.echo(json.dumps({"study": study.model_dump()}, indent=2))
        return
    plan = study.plan
    typer.echo(f"{study.id}{f' ({study.display_name})' if study.display_name else ''}: {study.state}")
    typer.echo(f"policies: {', '.join(plan.policies)}")
    rule = (
        "once every pair has its labels"
        if plan.stopping == "fixed"
        else "once decided, or when every pair has its labels"
    )
    typer.echo(
        f"plan: {plan.pairs} pairs at most, {plan.labels_per_pair} labels each, alpha {plan.alpha:g}, ends {rule}"
    )
    if plan.ratings_per_reply:
        people = "1 person" if plan.ratings_per_reply == 1 else f"{plan.ratings_per_reply} people"
        typer.echo(f"ratings: each reply by {people} for each objective, from 1 to 7")
    if study.error:
        typer.echo(f"failed: {study.error}")
    _print_progress(study)


def _print_progress(study: Study) -> None:
    """How far each question is, and how its people go on."""
    for question in study.questions:
        why = f", closed: {question.closed_because}" if question.closed_because else ""
        typer.echo(f"{question.objective}: {question.done} of {question.pairs} pairs labelled{why}")
    for rated in study.rating_questions:
        why = f", closed: {rated.closed_because}" if rated.closed_because else ""
        typer.echo(f"{rated.objective}: {rated.done} of {rated.replies} replies rated{why}")
    if any(not question.closed_because for question in study.questions):
        typer.echo(f"to label: charter label --run {study.id}")
    if any(not rated.closed_because for rated in study.rating_questions):
        typer.echo(f"to rate: charter label --run {study.id} --form ratings")


def results(
    study_id: Which,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Say which policy people prefer, and how they rated each one's replies.

    \b
    Examples:
      charter study results last
      charter study results "release 3" --json | jq '.results.questions[0].duels'

    A win rate counts ties as half. While a study asks, one of a fixed size has no results; those of a sequential one
    are for tokens of the scope `train`. Ratings are told once all are in, or the study was closed.
    """
    from services.cli.session import open_client

    with open_client(address, token, data) as client:
        found = client.studies.get_study_results(_meant(client, study_id))
    if as_json:
        typer.echo(json.dumps({"results": found.model_dump()}, indent=2))
        return
    for question in found.questions:
        _print_question(question, found)
    for rated in found.ratings:
        _print_ratings(rated)
    if found.identical:
        typer.echo(f"{found.identical} pairs of identical replies were left out")


def close(
    study_id: Which,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Ask the questions of a study no more, before its own rule ends them. It cannot be taken back.

    \b
    Examples:
      charter study close last
    """
    from services.cli.session import open_client

    with open_client(address, token, data) as client:
        study = client.studies.close_study(_meant(client, study_id))
    typer.echo(f"{study.id}: {study.state}")


def _meant(client: CharterClient, given: str) -> str:
    from rlhf_core.errors import NotFound
    from services.cli.session import LAST

    if given != LAST:
        return given
    newest = next(client.studies.list_studies(), None)
    if newest is None:
        raise NotFound("no studies yet; declare one with: charter study create POLICY POLICY")
    return newest.id


def _print_question(question: QuestionResult, found: StudyResults) -> None:
    ending = f"closed: {question.closed_because}" if question.closed_because else "still asked, so this may change"
    typer.echo(
        f"{question.objective}: {question.counted} of {question.pairs} pairs by {question.labelers} people, {ending}"
    )
    for duel in question.duels:
        typer.echo(f"  {_duel_text(duel)}")
    for strength in question.strengths[1:]:
        typer.echo(
            f"  {strength.policy} against {found.plan.policies[0]} at equal length: log-odds "
            f"{_shown(strength.log_odds, signed=True)}"
        )
    if question.length:
        typer.echo(f"  being twice as long is worth {_shown(question.length, signed=True)}")


def _print_ratings(result: RatingResult) -> None:
    from rlhf_core.studies.words import agreement, how_far, verdict

    people = "1 person" if result.raters == 1 else f"{result.raters} people"
    typer.echo(f"{result.objective}, rated from 1 to 7 by {people}, {how_far(result)}")
    for one in result.policies:
        total = max(1, sum(one.grades))
        shares = ", ".join(f"{grade}: {count / total:.0%}" for grade, count in enumerate(one.grades, start=1))
        if one.mean:
            mean = _shown(one.mean, unbounded="no interval")
            typer.echo(f"  {one.policy}: mean {mean} of {one.replies} replies ({shares})")
    for found in result.differences:
        typer.echo(f"  {found.second} less {found.first}: {_difference_text(found)}{verdict(found)}")
    if result.agreement:
        typer.echo(f"  {agreement(result.agreement)}")


def _difference_text(found: RatingDifference) -> str:
    """The difference and how it was found; the verdict says why there is no interval, or no difference at all."""
    if found.difference is None:
        return ""
    paired = f"paired by {found.prompts} {'prompt' if found.prompts == 1 else 'prompts'}"
    if found.difference.low is None:
        return f"{found.difference.value:+.2f} ({paired}): "
    return f"{_shown(found.difference, signed=True)} ({100 * (1 - found.error):.4g} % interval, {paired}): "


def _duel_text(duel: Duel) -> str:
    told = {"first": f"{duel.first} is preferred", "second": f"{duel.second} is preferred", "neither": "not told apart"}
    counts = f"{duel.wins:g} won, {duel.ties:g} even ({duel.both_bad:g} both bad), {duel.losses:g} lost"
    rate = _shown(duel.win_rate)
    return (
        f"{duel.first} against {duel.second}: win rate {rate} of {duel.pairs} pairs ({counts}): {told[duel.preferred]}"
    )


def _shown(interval: Interval, signed: bool = False, unbounded: str = "one-sided, so without bounds") -> str:
    sign = "+" if signed else ""
    if interval.low is None or interval.high is None:
        return f"{interval.value:{sign}.2f} [{unbounded}]"
    return f"{interval.value:{sign}.2f} [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]"
