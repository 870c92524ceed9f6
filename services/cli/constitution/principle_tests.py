"""`charter constitution test`: does the judge read each principle as its author does?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options
from services.cli.constitution.files import PROBLEMS_FOUND, File

if TYPE_CHECKING:
    from services.client.constitution import Tested


def test(
    file: File,
    principles: Annotated[
        list[str] | None, typer.Option("--principle", metavar="ID", help="Only this one; may be repeated.")
    ] = None,
    config: options.ConfigFile = "",
    overrides: options.Overrides = None,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Ask the judge every principle's tests and examples.

    \b
    Examples:
      charter constitution test household
      charter constitution test mine.yaml --principle no-dead-ends
      charter constitution test mine.yaml -s model.base_model=./my-model
      charter constitution test mine.yaml --json | jq '.results[] | select(.passed | not)'

    Each is a pair of replies, asked in both orders under its principle alone: `prefer` must win over `over` by
    min_margin, an example's `good` over its `bad`, and the two orders must agree. The judge is that of -c and -s, or
    else of the newest run of --data.
    Exit code 0 when all pass, 1 when one does not, 2 when there is nothing to test.
    """
    from rlhf_core.constitution.load import load_with_text
    from rlhf_core.feedback.principle_tests import check_tested
    from services.cli.constitution.judge import open_judge
    from services.cli.constitution.text import test_lines
    from services.client.constitution import Named

    constitution, text = load_with_text(file)
    check_tested(constitution.principles)
    with open_judge(config, overrides or [], address, token, data) as client:
        tested = client.constitution.test(Named(file, text), principles or [])
    typer.echo(_as_json(tested) if as_json else "\n".join(test_lines(tested.results, tested.judge)))
    if not _passed(tested):
        raise typer.Exit(PROBLEMS_FOUND)


def _passed(tested: Tested) -> bool:
    return all(result.passed for result in tested.results)


def _as_json(tested: Tested) -> str:
    rows = [result.model_dump() for result in tested.results]
    return json.dumps({"passed": _passed(tested), "judge": tested.judge, "results": rows}, indent=2)
