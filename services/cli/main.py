"""`charter`: the command line. Each verb is a function of a module of this folder; a mistake ends in one clear line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from rlhf_core.errors import CharterError, Conflict, InvalidInput, NotFound, Unauthenticated, Unavailable
from services.cli import (
    call,
    console,
    doctor,
    health,
    monitor,
    plan,
    policies,
    refresh,
    report,
    run,
    serve,
    token,
    weights,
)
from services.cli.cluster import standing as cluster_standing
from services.cli.cluster import up as cluster_up
from services.cli.constitution import diff, files, principle_tests
from services.cli.data import datasets, export, export_policy, gc, stores
from services.cli.labelling import label, labels, study
from services.cli.runs import compare, control, delete, listing, sweep

UNEXPECTED, USER_MISTAKE, UNAVAILABLE, FAILED, INTERRUPTED = 1, 2, 4, 5, 130

# typer's usage errors share this base, which can tell its message; its module has moved between releases, its public
# subclass has not.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]

EPILOG = """
\b
First steps:
  charter demo                       the whole story, in a few minutes
  charter report                     what came of it
  charter generate "How do I ...?"   ask the policy that it trained and promoted
  charter policies                   every policy, and which one answers by default
  charter label                      say yourself which of two replies is better
  charter console                    label and look on in a browser
  charter serve                      the same for clients, over gRPC

Every verb shows examples with --help. Exit codes: 0 done, 1 a check found problems, 2 a mistake in the command,
4 something is not available, 5 a run failed, 130 interrupted.
"""

app = typer.Typer(
    name="charter",
    help="Align a language model to a constitution, with a dial for each objective.",
    epilog=EPILOG,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
constitution_app = typer.Typer(help="Check, show, compare and test constitutions.", rich_markup_mode=None)
token_app = typer.Typer(help="Make, list and revoke the tokens that a server asks for.", rich_markup_mode=None)
runs_app = typer.Typer(rich_markup_mode=None)
policies_app = typer.Typer(rich_markup_mode=None)
datasets_app = typer.Typer(rich_markup_mode=None)
study_app = typer.Typer(rich_markup_mode=None)
store_app = typer.Typer(help="Say where the store is, and copy it elsewhere.", rich_markup_mode=None)
cluster_app = typer.Typer(help="Run the services, workers and learners on a Ray cluster.", rich_markup_mode=None)
labels_app = typer.Typer(rich_markup_mode=None)
export_app = typer.Typer(help="Write what a data folder holds to files.", rich_markup_mode=None)

app.command()(run.demo)
app.command()(serve.serve)
app.command()(console.console)
app.command()(run.run)
app.command()(plan.plan)
runs_app.callback(invoke_without_command=True)(listing.listed)
runs_app.command()(delete.delete)
app.add_typer(runs_app, name="runs")
app.command()(compare.compare)
app.command()(sweep.sweep)
app.command()(run.watch)
app.command()(control.pause)
app.command()(control.resume)
app.command()(control.cancel)
app.command()(weights.weights)
app.command()(refresh.refresh)
app.command()(report.report)
app.command()(call.generate)
policies_app.callback(invoke_without_command=True)(policies.listed)
policies_app.command()(policies.promote)
policies_app.command()(policies.rollback)
policies_app.command()(policies.history)
app.add_typer(policies_app, name="policies")
datasets_app.callback(invoke_without_command=True)(datasets.listed)
datasets_app.command()(datasets.upload)
datasets_app.command()(datasets.show)
datasets_app.command()(datasets.export)
datasets_app.command()(datasets.delete)
app.add_typer(datasets_app, name="datasets")
app.command()(label.label)
study_app.callback(invoke_without_command=True)(study.listed)
study_app.command()(study.create)
study_app.command()(study.status)
study_app.command()(study.results)
study_app.command()(study.close)
app.add_typer(study_app, name="study")
labels_app.callback(invoke_without_command=True)(labels.quality)
labels_app.command()(labels.disagreements)
labels_app.command()(labels.adjudicate)
labels_app.command()(labels.standing)
app.add_typer(labels_app, name="labels")
app.command()(monitor.monitor)
constitution_app.command()(files.check)
constitution_app.command()(files.show)
constitution_app.command()(diff.diff)
constitution_app.command()(principle_tests.test)
constitution_app.command()(files.new)
constitution_app.command(name="export-schema")(files.export_schema)
export_app.command()(export.preferences)
export_app.command()(export.ratings)
export_app.command()(export.rankings)
export_app.command()(export.spans)
export_app.command()(export.demonstrations)
export_app.command()(export.samples)
export_app.command()(export_policy.policy)
export_app.command(name="labels")(labels.export)
app.add_typer(constitution_app, name="constitution")
app.add_typer(export_app, name="export")
token_app.command()(token.new)
token_app.command(name="list")(token.listed)
token_app.command()(token.revoke)
app.add_typer(token_app, name="token")
store_app.command()(stores.use)
store_app.command()(stores.copy)
app.add_typer(store_app, name="store")
cluster_app.command()(cluster_up.up)
cluster_app.command()(cluster_standing.status)
cluster_app.command()(cluster_standing.down)
app.add_typer(cluster_app, name="cluster")
app.command()(call.call)
app.command()(doctor.doctor)
app.command()(health.health)
app.command()(gc.gc)


@app.callback(invoke_without_command=True)
def _welcome(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"charter {installed('charter-rlhf')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line.

    Exit codes: 0 done, 1 a check found problems, 2 user's mistake, 4 unavailable, 5 failed run, 130 interrupted.
    """
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        _check_text(words)
        sys.exit(app(words, prog_name="charter", standalone_mode=False) or 0)
    except UsageError as error:
        _complain(error.format_message(), hint=f"see `{_command(error)} --help`")  # pyright: ignore[reportAttributeAccessIssue]
        sys.exit(USER_MISTAKE)
    except CharterError as error:
        if _debugging():
            raise
        hint = "give the token with --token or CHARTER_TOKEN" if isinstance(error, Unauthenticated) else ""
        _complain(*str(error).splitlines(), hint=hint)
        sys.exit(exit_code(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe (`charter runs | head`) is gone: not a mistake, and nothing is left to print to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if _debugging():
            raise
        _complain(f"unexpected {type(error).__name__}: {error}", hint="this is a bug; CHARTER_DEBUG=1 shows where")
        sys.exit(UNEXPECTED)


def _check_text(words: Sequence[str]) -> None:
    """InvalidInput for bytes that are no text: they would fail on the way to a server, or in its store."""
    for number, word in enumerate(words, start=1):
        if not word.isascii() and word != word.encode(errors="replace").decode():
            raise InvalidInput(f"argument {number}: {word!r} is not text in UTF-8")


def exit_code(error: CharterError) -> int:
    """Tell the user's mistakes from what may work later and from what failed."""
    if isinstance(error, (InvalidInput, NotFound, Conflict)):
        return USER_MISTAKE
    return UNAVAILABLE if isinstance(error, Unavailable) else FAILED


def _debugging() -> bool:
    return os.environ.get("CHARTER_DEBUG") == "1"


def _complain(*lines: str, hint: str = "") -> None:
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


def _command(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context else "charter"
