"""Samples of a run found by what they are, in both databases; and what a sample's history tells."""

from __future__ import annotations

from typing import Any, cast

import pytest
import sqlite_utils

from rlhf_core.errors import NotFound
from rlhf_core.records.exploration import Between, SampleFilter, SamplePage
from rlhf_core.records.models import GoldScore, Score
from rlhf_core.store.exploration import search
from rlhf_core.store.migrations import charter
from rlhf_core.store.store import Store
from tests.records import revision
from tests.store.examples import comparison, preference, sample, vote

ALL = SampleFilter()
LATER = {"kl", "staleness"}
"""Columns of samples that the migrations after the one under test add."""


def fill(store: Store, count: int = 8, run_id: str = "run") -> None:
    """Samples s0, s1, ...: even ones of `label`, odd ones of `ppo` with a KL of their number; scores go down by one."""
    names = [f"{run_id}-s{number}" for number in range(count)]
    store.samples.add(
        sample(name, run_id, "ppo" if number % 2 else "label", f"policy-{number % 2}").model_copy(
            update={"kl": float(number) if number % 2 else None}
        )
        for number, name in enumerate(names)
    )
    store.scores.add(
        Score(sample_id=name, objective="helpful", reward_model=f"rm-{run_id}", score=float(-number))
        for number, name in enumerate(names)
    )


def ids(page: SamplePage) -> list[str]:
    return [found.sample.id.rpartition("-s")[2] for found in page.found]


def asked(store: Store, **wanted: object) -> list[str]:
    page = store.sample_search.find("run", SampleFilter.model_validate(wanted), 100)
    assert page.exact and page.matches == len(page.found) and not page.after
    return ids(page)


def test_samples_are_found_by_stage_version_score_and_kl_alone_and_together(store: Store):
    fill(store)
    fill(store, 3, "other")
    assert asked(store) == list("01234567")
    assert asked(store, stage="ppo") == asked(store, policy_version="policy-1") == list("1357")
    assert asked(store, objective="helpful", score=Between(low=-3)) == list("0123")
    assert asked(store, objective="helpful", score=Between(low=-5, high=-3)) == list("345")
    assert asked(store, kl=Between(low=3)) == list("357")
    assert asked(store, stage="label", objective="helpful", score=Between(high=-3)) == list("46")
    assert asked(store, stage="reward") == asked(store, objective="harmless") == []
    assert store.sample_search.find("nobody", ALL, 10) == SamplePage()


def test_samples_are_found_by_what_a_critic_said(store: Store):
    fill(store, 4)
    said = [
        ("s0", "fumes", "violates"),
        ("s0", "burns", "complies"),
        ("s1", "burns", "violates"),
        ("s2", "burns", None),
    ]
    plain = revision(id="x", sample_id="x")
    store.revisions.add(
        plain.model_copy(
            update={"id": f"r{number}", "sample_id": f"run-{name}", "run_id": "run"}
            | {"critique": plain.critique.model_copy(update={"principle_id": principle, "verdict": verdict})}
        )
        for number, (name, principle, verdict) in enumerate(said)
    )
    assert asked(store, verdict="violates") == list("01")
    assert asked(store, principle_id="burns") == list("012")
    assert asked(store, principle_id="burns", verdict="violates") == ["1"]
    assert asked(store, principle_id="fumes", verdict="complies") == []
    [first, *_] = store.sample_search.find("run", ALL, 1).found
    assert first.verdicts == (("fumes", "violates"), ("burns", "complies"))


def test_samples_are_found_by_words_of_the_reply_or_the_prompt_in_capitals_or_not(store: Store):
    fill(store, 3)
    odd = sample("run-s3").model_copy(update={"response": 'Straße: 100 % "safe"_\\ <b>'})
    store.samples.add([odd])
    assert asked(store, text="ANSWER RUN-S1") == ["1"]
    assert asked(store, text="Kettle") == list("0123")
    for text in ("STRASSE", "100 %", '"safe"', "_\\", "<b>"):
        assert asked(store, text=text) == ["3"]
    assert asked(store, text="_") == ["3"], "no sign stands for others"


def every_page(store: Store, wanted: SampleFilter, size: int) -> tuple[list[str], list[SamplePage]]:
    pages = [store.sample_search.find("run", wanted, size)]
    while pages[-1].after:
        pages.append(store.sample_search.find("run", wanted, size, pages[-1].after))
    return [name for page in pages for name in ids(page)], pages


WANTED: tuple[tuple[SampleFilter, list[int]], ...] = (
    (ALL, list(range(23))),
    (SampleFilter(stage="ppo"), list(range(1, 23, 2))),
    (SampleFilter(stage="ppo", objective="helpful", score=Between(high=-10)), [11, 13, 15, 17, 19, 21]),
    (SampleFilter(text="run-s1", kl=Between(low=2)), [11, 13, 15, 17, 19]),
    (SampleFilter(stage="ppo", text="nowhere"), []),
)


@pytest.mark.parametrize("rare", [100, 2])
@pytest.mark.parametrize("seconds", [60, -1])
def test_every_page_together_is_each_match_once_in_order(store, monkeypatch, rare, seconds):
    monkeypatch.setattr(search, "RARE", rare)
    monkeypatch.setattr(search, "CHUNK", 3)
    monkeypatch.setattr(search, "LOOK_SECONDS", seconds)
    fill(store, 23)
    for wanted, numbers in WANTED:
        names, pages = every_page(store, wanted, 4)
        assert names == [str(number) for number in numbers], wanted
        assert all(page.cut == (len(page.found) < 4 and bool(page.after)) for page in pages)
        assert all(page.matches == len(numbers) for page in pages if page.exact)
        if rare == 100 and seconds == 60:
            assert all(page.exact for page in pages) and not any(page.cut for page in pages)
        if seconds < 0 and rare == 2 and not numbers:
            assert len(pages) > 1, "a search that is out of time says so instead of looking on"


def test_the_terms_of_a_run_are_counted_with_the_range_of_their_numbers(store: Store, monkeypatch):
    fill(store)
    told = {(term.kind, term.name, term.detail): term for term in store.sample_search.terms("run")}
    assert {key: term.samples for key, term in told.items()} == {
        ("run", "", ""): 8,
        ("stage", "label", ""): 4,
        ("stage", "ppo", ""): 4,
        ("policy", "policy-0", ""): 4,
        ("policy", "policy-1", ""): 4,
        ("kl", "", ""): 4,
        ("score", "helpful", "rm-run"): 8,
    }
    score, kl = told["score", "helpful", "rm-run"], told["kl", "", ""]
    assert (score.low, score.high, kl.low, kl.high) == (-7, 0, 1, 7)
    monkeypatch.setattr(search, "RARE", 5)
    counts = {term.kind: (term.samples, term.exact) for term in store.sample_search.terms("run")}
    assert counts["run"] == (5, False) and counts["stage"] == (4, True)


def test_a_sample_that_joins_a_run_after_it_was_scored_is_found_there_by_its_score(store: Store):
    fill(store, 2)
    store.samples.add([sample("run-s1", "later", "ppo", "policy-1")])
    wanted = SampleFilter(objective="helpful", score=Between(high=-1))
    assert ids(store.sample_search.find("later", wanted, 10)) == ["1"]


def test_a_deleted_run_leaves_nothing_in_the_index_and_takes_nothing_from_others(store: Store):
    run = store.runs.create("ppo", "{}", "k", "q").id
    fill(store, 3, run)
    fill(store, 3)
    store.samples.add([sample(f"{run}-s1", "run", "ppo", "policy-1")])
    store.runs.cancel(run)
    store.deletion.delete(run)
    assert store.sample_search.terms(run) == [] and store.sample_search.find(run, ALL, 10) == SamplePage()
    assert len(store.sample_search.find("run", ALL, 10).found) == 4


def test_a_sample_s_history_has_its_critiques_pairs_votes_labels_scores_and_gold(store: Store):
    pair = comparison("c")
    store.comparisons.add([pair])
    store.revisions.add([revision(id="r", sample_id="c-a", run_id="run")])
    store.votes.add([vote("v"), vote("w", swapped=True)])
    store.preferences.submit(preference("p"), "q")
    store.scores.add([Score(sample_id="c-a", objective="helpful", reward_model="m", score=0.5, steps=(0.25, 0.75))])
    store.gold_scores.add([GoldScore(sample_id="c-a", kind="harm:fumes", score=2)])
    told = store.sample_histories.get("c-a")
    assert [step.id for step in told.revisions] == ["r"]
    assert [(each.comparison, [v.id for v in each.votes]) for each in told.judged] == [(pair, ["v", "w"])]
    assert [label.id for label in told.judged[0].preferences] == ["p"]
    assert told.scores[0].steps == (0.25, 0.75) and told.gold[0].score == 2 and told.run_ids == ("run",)
    other = store.sample_histories.get("c-b")
    assert not other.revisions and not other.scores and len(other.judged) == 1
    with pytest.raises(NotFound):
        store.sample_histories.get("gone")


def test_samples_of_an_older_store_are_found_too(tmp_path, monkeypatch):
    """The index that the migration makes of old rows is the one that storing them makes."""

    def content(store: Store, sql: str) -> list[tuple]:
        return [tuple(row) for row in cast(Any, store._connections.rows(sql))]

    store = Store.open(tmp_path / "new")
    fill(store, 5)
    store.samples.add([sample("run-s1", "later", "ppo", "policy-1")])
    store.revisions.add([revision(id="r", sample_id="run-s1", run_id="run")])
    kept = """SELECT t.run_id, t.kind, t.name, t.detail, n.sample_id, p.number FROM sample_postings AS p
        JOIN sample_terms AS t ON t.id = p.term JOIN sample_numbers AS n ON n.number = p.place
        WHERE t.kind <> 'kl' ORDER BY 1, 2, 3, 4, 5"""
    expected = content(store, kept)
    assert len(expected) == 5 * 4 + 4 + 1
    db = sqlite_utils.Database(tmp_path / "charter.db")
    charter.apply(db, stop_before="m019_explored_samples")
    for table in ("prompts", "samples", "members", "scores", "revisions"):
        rows = [dict(row) for row in cast(Any, store._connections.rows(f"SELECT * FROM {table}"))]
        db.table(table).insert_all([{name: row[name] for name in row if name not in LATER} for row in rows])
    db.close()
    store.close()
    old = Store.open(tmp_path)
    assert content(old, kept) == expected
    old.close()
