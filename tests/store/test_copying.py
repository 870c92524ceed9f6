"""A store that moves from SQLite to PostgreSQL and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from rlhf_core.errors import Conflict, InvalidInput, Unavailable
from rlhf_core.records.models import Checkpoint, Score
from rlhf_core.records.runs import StageResult
from rlhf_core.store.databases import copying
from rlhf_core.store.databases.copying import Side, copy_artifacts, copy_rows, opened
from rlhf_core.store.databases.place import Place, use
from rlhf_core.store.store import Store
from tests.store.examples import comparison, preference, vote


def filled(folder: Path) -> str:
    """A store with rows in most tables, texts that are hard to carry among them; the id of its run."""
    with closing(Store.open(folder)) as store:
        run = store.runs.create("ppo", '{"seed": 0}', "k", "request", tags={"ä": "1"})
        store.constitutions.add("k", "household", "id: x\n", "file")
        pairs = [comparison(f"c{number}", run.id) for number in range(5)]
        odd = pairs[0].a.model_copy(update={"response": "nul \0, mark \ufdd0, 'quote', \\ and %s ?", "logprob": -1 / 3})
        store.samples.add([odd])
        store.comparisons.add(pairs)
        store.votes.add([vote("v", "c1", run.id)])
        for pair in reversed(pairs):
            store.preferences.submit(preference(pair.id, pair.id), pair.id)
        store.preferences.undo("human:ada", "undo")
        score = Score(sample_id=odd.id, objective="o", reward_model="r", score=0.1, spread=1e-300)
        store.scores.add([score])
        (folder / "adapter").mkdir()
        (folder / "adapter/weights").write_text("w")
        digest = store.artifacts.put_folder(folder / "adapter")
        store.checkpoints.add(Checkpoint(run_id=run.id, stage="ppo", step=1, artifact=digest))
        result = StageResult(run_id=run.id, stage="sft", numbers={"loss": 0.1 + 0.2}, counts={}, seconds=1.5)
        store.stage_results.add(result)
        store.aliases.promote("production", "base", "ada", "why not", "")
        return run.id


def everything(folder: Path, run_id: str) -> list[object]:
    with closing(Store.open(folder)) as store:
        return [
            store.runs.page(10),
            store.events.of_run(run_id),
            store.samples.of_run(run_id),
            store.comparisons.of_run(run_id),
            store.votes.find(),
            store.preferences.page(2),
            store.preferences.find(),
            store.scores.of_run(run_id),
            store.checkpoints.latest(run_id, "ppo"),
            store.stage_results.of_run(run_id),
            store.aliases.history(),
            store.constitutions.files("k"),
            store.artifacts.stored(),
        ]


@pytest.fixture
def there(tmp_path: Path, postgres) -> Path:
    """A folder whose store is to be in PostgreSQL."""
    use(tmp_path / "there", Place(database=postgres.empty(), artifacts="memory://copying/" + tmp_path.name))
    return tmp_path / "there"


@pytest.fixture
def sides() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def copied(source: Path, target: Path) -> dict[str, int]:
    with closing(opened(str(source))) as old, closing(opened(str(target), but=str(source))) as new:
        copy_artifacts(old, new)
        return copy_rows(old.connections, new.connections)


def test_a_store_goes_to_postgres_and_back_and_is_what_it_was(tmp_path: Path, there: Path):
    run_id = filled(tmp_path / "here")
    counts = copied(tmp_path / "here", there)
    assert counts["samples"] == 10 and counts["preferences"] == 5 and counts["undos"] == 1
    assert copied(there, tmp_path / "back") == counts
    before = everything(tmp_path / "here", run_id)
    assert everything(tmp_path / "back", run_id) == before
    assert everything(there, run_id)[:-1] == before[:-1]


def test_numbers_go_on_after_those_that_were_copied(tmp_path: Path, there: Path):
    run_id = filled(tmp_path / "here")
    copied(tmp_path / "here", there)
    with closing(Store.open(there)) as store:
        store.preferences.submit(preference("new", "c0", "human:eve"), "new")
        assert [label.id for label in store.preferences.find()][-1] == "new"
        newer = store.runs.create("ppo", "{}", "k", "")
        assert [run.id for run in store.runs.page(10)[0]] == [newer.id, run_id]
        store.samples.add([comparison("later", run_id).a])
        assert store.samples.of_run(run_id)[-1].id == "later-a"


def test_a_target_with_rows_is_left_alone(tmp_path: Path, there: Path):
    filled(tmp_path / "here")
    run_id = filled(there)
    before = everything(there, run_id)
    with pytest.raises(Conflict, match="has rows of"):
        copied(tmp_path / "here", there)
    assert everything(there, run_id) == before


def test_a_copy_that_is_not_equal_or_breaks_off_leaves_nothing(
    tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch
):
    filled(tmp_path / "here")
    whole = copying._batches
    for fault in (
        lambda rows: rows[:-1],
        lambda rows: [dict(row) | {"judge": "another"} for row in rows],
        lambda rows: 1 / 0,
    ):
        with monkeypatch.context() as patch:

            def batches(connections, table, fault=fault):
                for rows in whole(connections, table):
                    yield fault(rows) if table.name == "votes" and is_target(connections) else rows

            patch.setattr(copying, "_batches", batches)
            with pytest.raises((Unavailable, ZeroDivisionError)):
                copied(tmp_path / "here", there)
    with closing(Store.open(there)) as store:
        assert store.runs.page(10) == ([], "") and store.prompts.find() == []
    assert copied(tmp_path / "here", there)["runs"] == 1


def is_target(connections: object) -> bool:
    return type(connections).__name__ == "PostgresConnections"


def test_a_store_is_not_copied_onto_itself(tmp_path: Path, there: Path):
    filled(there)
    url = Place.model_validate_json((there / "store.json").read_text()).database
    for source, target in ((tmp_path / "a", tmp_path / "a"), (there, url), (url, there)):
        with pytest.raises(InvalidInput, match="the same store"):
            opened(str(target), but=str(source))


def test_rows_alone_are_copied_to_a_database(tmp_path: Path, postgres, sides: ExitStack):
    filled(tmp_path / "here")
    old: Side = sides.enter_context(closing(opened(str(tmp_path / "here"))))
    new: Side = sides.enter_context(closing(opened(postgres.empty())))
    assert copy_artifacts(old, new) is None
    assert copy_rows(old.connections, new.connections)["runs"] == 1


def test_tables_of_many_batches_are_copied_whole(tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch):
    filled(tmp_path / "here")
    monkeypatch.setattr(copying, "BATCH", 2)
    assert copied(tmp_path / "here", there)["samples"] == 10
