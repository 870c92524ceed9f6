"""Datasets and what runs made, read back by page: the same on each database."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rlhf_core.errors import Conflict, NotFound, Stale
from rlhf_core.records.datasets import Dataset
from rlhf_core.records.samples import Comparison, Prompt, Sample


def version(name: str, content: str, format_: str = "prompts") -> Dataset:
    given = {"format": format_, "encoding": "jsonl", "hash": content * 64, "artifact": "a" * 64, "rows": 3, "size": 90}
    return Dataset.model_validate({"id": name, **given})


def test_a_name_means_its_newest_version_and_the_older_ones_stay(store):
    first, second = (store.datasets.add(version("tasks", content)) for content in "ab")
    assert store.datasets.get("tasks") == second and second.number > first.number
    assert store.datasets.version("tasks", "aaaa") == first
    assert [found.hash[0] for found in store.datasets.page(10, versions_of="tasks")[0]] == ["b", "a"]
    assert store.datasets.add(version("tasks", "b")) == second, "the same again changes nothing"
    assert store.datasets.by_hash("a" * 64) == first


def test_content_under_several_formats_is_that_of_the_format_asked_for(store):
    shown = store.datasets.add(version("shown", "a", "demonstrations"))
    asked = store.datasets.add(version("asked", "a", "prompts"))
    assert store.datasets.by_hash("a" * 64) == asked
    assert store.datasets.by_hash("a" * 64, ("demonstrations",)) == shown
    assert store.datasets.by_hash("a" * 64, ("labels", "ratings")) == asked, "for whoever says that it does not fit"


def test_what_a_transaction_holds_is_not_deleted_before_it_ends(store):
    reference = store.datasets.add(version("tasks", "a")).reference
    with ThreadPoolExecutor(1) as pool:
        with store.transaction():
            store.datasets.hold([reference, reference])
            deleting = pool.submit(store.datasets.delete, "tasks")
            time.sleep(0.2)
            assert not deleting.done()
            run = store.runs.create("pipeline", json.dumps({"data": {"prompts": reference}}), "k", "").id
        with pytest.raises(Conflict, match=run):
            deleting.result(20)
    store.datasets.delete("tasks", although_used=True)
    with pytest.raises(NotFound), store.transaction():
        store.datasets.hold([reference])


def test_names_are_listed_newest_first_and_by_format(store):
    for name, format_ in (("one", "prompts"), ("two", "preferences"), ("three", "prompts")):
        store.datasets.add(version(name, "a", format_))
    store.datasets.add(version("one", "b"))
    page, token = store.datasets.page(2)
    assert [found.id for found in page] == ["one", "three"] and token
    assert [found.id for found in store.datasets.page(2, token)[0]] == ["two"]
    assert [found.id for found in store.datasets.page(9, format_="preferences")[0]] == ["two"]


def test_what_changed_meanwhile_or_is_of_another_format_is_refused(store):
    first = store.datasets.add(version("tasks", "a"))
    store.datasets.add(version("tasks", "b"))
    with pytest.raises(Stale, match="has changed since etag"):
        store.datasets.add(version("tasks", "c"), first.etag)
    with pytest.raises(Conflict, match="is of format prompts, not preferences"):
        store.datasets.add(version("tasks", "c", "preferences"))
    with pytest.raises(NotFound, match='no dataset "taks"'):
        store.datasets.get("taks")


def test_one_that_a_run_was_given_is_deleted_only_when_that_is_meant(store):
    store.datasets.add(version("my_tasks", "a"))
    run = store.runs.create("pipeline", '{"data": {"prompts": "dataset:my_tasks@%s"}}' % ("a" * 64), "k", "").id
    store.runs.create("pipeline", '{"data": {"prompts": "dataset:my-tasks@%s"}}' % ("a" * 64), "k", "")
    with pytest.raises(Conflict, match=run):
        store.datasets.delete("my_tasks")
    gone = store.datasets.delete("my_tasks", although_used=True)
    assert gone == ("my_tasks", 1, 90, (run,))
    with pytest.raises(NotFound, match="there are no datasets yet"):
        store.datasets.get("my_tasks")


def test_what_a_run_made_is_read_back_by_page_in_the_order_in_which_it_came(store):
    run, other = (store.runs.create("pipeline", "{}", "k", "").id for _ in range(2))
    prompt = Prompt.of("How many?")
    made = [
        Sample(id=f"s{n}", prompt=prompt, response=str(n), policy_version="p", run_id=run, stage="label")
        for n in range(5)
    ]
    store.samples.add(made)
    store.samples.add([made[0].model_copy(update={"id": "other", "run_id": other})])
    store.comparisons.add([Comparison.of(made[0], made[1], run)])
    first = store.run_pages.samples(run, 3, 0)
    assert [placed.record.id for placed in first] == ["s0", "s1", "s2"]
    assert [placed.record.id for placed in store.run_pages.samples(run, 3, first[-1].place)] == ["s3", "s4"]
    assert store.run_pages.samples(run, 3, 0, stage="ppo") == []
    [placed] = store.run_pages.comparisons(run, 9, 0)
    assert (placed.record.a.id, placed.record.b.id) == ("s0", "s1")
