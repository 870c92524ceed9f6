"""`charter study` before a server: what is not there yet is said in words."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from rlhf_core.errors import Conflict, NotFound
from services.cli.main import app
from tests.services.rpc.test_studies import TWO, add_policy, draw, label
from tests.services.rpc.test_study_ratings import PLAN, rate
from tests.services.run_server import RunServer, run_server


def charter(server: RunServer, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["study", *arguments, "--address", server.client.address])


def test_a_study_is_listed_followed_and_its_results_are_told(tmp_path: Path):
    with run_server(tmp_path) as server:
        add_policy(tmp_path)
        assert charter(server).stdout.startswith("no studies yet")
        assert isinstance(charter(server, "results", "last").exception, NotFound)
        study = server.client.studies.create_study(TWO, objectives=["harmless"], stopping="fixed", display_name="new?")
        assert "drawing" in charter(server, "status", "new?").stdout
        draw(tmp_path, study.id)
        label(server.client, study.id, "harmless", 11, winner="base")
        assert charter(server).stdout == f"{study.id}  new?  open  base against policy-1\n"
        assert f"to label: charter label --run {study.id}" in charter(server, "status", "last").stdout
        refused = charter(server, "results", "last").exception
        assert isinstance(refused, Conflict) and "11 of 12" in str(refused)
        label(server.client, study.id, "harmless", 1, winner="policy-1")
        told = charter(server, "results", "last").stdout.splitlines()
    assert told[0] == "harmless: 12 of 12 pairs by 1 people, closed: complete"
    assert told[1].startswith(
        "  base against policy-1: win rate 0.92 [0.65, 0.99] of 12 pairs (11 won, 0 even (0 both bad), 1"
    )
    assert told[1].endswith("base is preferred")
    assert told[2].startswith("  policy-1 against base at equal length: log-odds -")


def test_a_study_s_ratings_are_asked_for_followed_and_told(tmp_path: Path):
    with run_server(tmp_path) as server:
        add_policy(tmp_path)
        study = server.client.studies.create_study(TWO, **PLAN | {"stopping": "sequential"})
        draw(tmp_path, study.id, pairs=3)
        status = charter(server, "status", "last").stdout
        assert "ratings: each reply by 1 person for each objective, from 1 to 7" in status
        assert f"to rate: charter label --run {study.id} --form ratings" in status
        assert rate(server.client, study.id, 4) == 4
        assert "harmless: 4 of 6 replies rated" in charter(server, "status", "last").stdout
        told = charter(server, "results", "last").stdout.splitlines()
        assert told[-1] == (
            "harmless, rated from 1 to 7 by 1 person, unfinished: 4 of 6 replies have all their ratings; what they say "
            "is told once all have them"
        )
        rate(server.client, study.id, 2)
        told = charter(server, "results", "last").stdout.splitlines()[-5:]
    assert told == [
        "harmless, rated from 1 to 7 by 1 person, finished: 6 of 6 replies have all their ratings",
        "  base: mean 3.33 [1.90, 4.77] of 3 replies (1: 0%, 2: 0%, 3: 67%, 4: 33%, 5: 0%, 6: 0%, 7: 0%)",
        "  policy-1: mean 5.33 [3.90, 6.77] of 3 replies (1: 0%, 2: 0%, 3: 0%, 4: 0%, 5: 67%, 6: 33%, 7: 0%)",
        "  policy-1 less base: +2.00 (paired by 3 prompts): not told apart: no interval, as every prompt has the same "
        "difference",
        "  agreement of raters is not known: no item has the answers of two people",
    ]
