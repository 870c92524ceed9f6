from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_core.records.base import Record
from rlhf_core.records.feedback import Preference, Revision, Vote
from rlhf_core.records.models import Checkpoint, GoldScore, NormPack, PolicyVersion, RewardModelVersion, Score
from rlhf_core.records.runs import Run, RunEvent, StageResult
from rlhf_core.records.samples import Message, Prompt, Sample
from rlhf_core.store.databases.place import Place, connect, place_of, use
from rlhf_core.store.store import Store
from tests.store.examples import comparison

DERIVED = {"lost", "step_seconds"}
"""Of a run: what is seen of its worker and its events when it is read."""
TABLES: list[tuple[type[Record], str]] = [
    (Prompt, "prompts"),
    (Revision, "revisions"),
    (Vote, "votes"),
    (Preference, "preferences"),
    (PolicyVersion, "policy_versions"),
    (RewardModelVersion, "reward_models"),
    (NormPack, "norm_packs"),
    (Score, "scores"),
    (GoldScore, "gold_scores"),
    (Run, "runs"),
    (RunEvent, "run_events"),
    (StageResult, "stage_results"),
    (Checkpoint, "checkpoints"),
]
INTEGERS = st.integers(-(2**63), 2**63 - 1)
LOGPROBS = st.floats(max_value=0, allow_nan=False)


@pytest.mark.parametrize(("record", "table"), TABLES, ids=lambda value: getattr(value, "__name__", value))
def test_every_field_of_a_record_has_a_column(shared_folder: Path, record: type[Record], table: str):
    fields = set(record.model_fields) - (DERIVED if record is Run else set())
    with closing(connect(shared_folder, place_of(shared_folder).database)) as connections:
        connections.migrate()
        missing = [field for field in fields if table not in connections.tables_with(field)]
    assert missing == [], f"a new field of {record.__name__} needs a new migration"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shared_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    if request.param == "postgres":
        use(folder, Place(database=request.getfixturevalue("postgres").empty()))
    return folder


@pytest.fixture(scope="module")
def shared(shared_folder: Path) -> Iterator[Store]:
    store = Store.open(shared_folder)
    store.comparisons.add([comparison()])
    yield store
    store.close()


# An id with a NUL is never found again: SQLite's json_each ends a text there. Ours are hexadecimal.
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))


class TakenBackError(Exception):
    """Ends a transaction, so that each example finds the store as it was."""


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Sample,
        id=TEXT,
        prompt=st.builds(
            Prompt,
            id=TEXT,
            messages=st.lists(st.builds(Message), min_size=1, max_size=3).map(tuple),
            tags=st.lists(TEXT, max_size=2).map(tuple),
        ),
        tokens=INTEGERS,
        seed=INTEGERS,
        logprob=LOGPROBS,
    )
)
def test_any_sample_comes_back_as_it_was(shared: Store, sample: Sample):
    with pytest.raises(TakenBackError), shared.transaction():
        shared.samples.add([sample])
        assert shared.samples.get(sample.id) == sample
        assert shared.samples.of_run(sample.run_id, sample.stage, sample.policy_version) == [sample]
        raise TakenBackError


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Vote,
        id=TEXT,
        comparison_id=st.just("c"),
        logprob_a=LOGPROBS,
        logprob_b=LOGPROBS,
        label_mass=st.floats(0, 1),
    ),
    st.builds(
        Preference,
        id=TEXT,
        comparison_id=st.just("c"),
        labeler=TEXT.filter(bool).map("human:{}".format),
        gap=st.floats(0, 1),
        weight=st.floats(0, 10),
    ),
)
def test_any_vote_and_label_come_back_as_they_were(shared: Store, vote: Vote, preference: Preference):
    with pytest.raises(TakenBackError), shared.transaction():
        shared.votes.add([vote])
        shared.preferences.submit(preference, "request")
        assert shared.votes.by_id([vote.id]) == {vote.id: vote}
        assert shared.preferences.find(preference.objective) == [preference]
        raise TakenBackError
