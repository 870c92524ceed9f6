import pytest

from rlhf_core.errors import Conflict, InvalidInput, NotFound
from rlhf_core.seeding import UNIFORM_SLICE, uniform_draw
from rlhf_core.store.store import Store
from tests.store.examples import comparison, preference, sample, vote


def test_a_comparison_brings_its_samples_and_comes_back_whole(store: Store):
    store.comparisons.add([comparison("c"), comparison("d")])
    assert store.comparisons.get("d") == comparison("d")
    assert store.comparisons.of_run("run") == [comparison("c"), comparison("d")]
    assert store.samples.get("c-b") == sample("c-b")
    with pytest.raises(NotFound):
        store.comparisons.get("e")


def test_votes_are_found_by_comparison_by_run_and_by_id(store: Store):
    store.comparisons.add([comparison("c"), comparison("d")])
    votes = [vote("1"), vote("2", swapped=True), vote("3", "d")]
    store.votes.add(votes)
    assert store.votes.find(["c"]) == votes[:2]
    assert store.votes.find(run_id="run") == votes
    assert store.votes.find([]) == []
    assert store.votes.by_id(["3", "none"]) == {"3": votes[2]}


def test_a_cached_vote_joins_a_later_run_without_being_doubled(store: Store):
    store.comparisons.add([comparison()])
    store.votes.add([vote("1")])
    store.votes.add([vote("1", run_id="later")])
    assert store.votes.find() == [vote("1")]
    assert store.votes.find(run_id="later") == [vote("1")]


def test_a_vote_on_an_unknown_comparison_is_refused(store: Store):
    with pytest.raises(NotFound):
        store.votes.add([vote("1", "missing")])


def test_preferences_are_chosen_by_objective_run_and_kind_of_labeler(store: Store):
    store.comparisons.add([comparison()])
    ai = preference("1", labeler="ai:sandbox", probability=0.8)
    other = preference("2", labeler="ai:sandbox", objective="helpful", run_id="later")
    human = preference("3")
    store.preferences.add([ai, other, human])
    store.preferences.add([ai, other, human])
    assert store.preferences.find() == [ai, other, human]
    assert store.preferences.find("harmless") == [ai, human]
    assert store.preferences.find(run_id="later") == [other]
    assert store.preferences.find(labelers="human") == [human]
    assert store.preferences.find("harmless", labelers="ai") == [ai]


def test_a_preference_named_twice_in_one_call_is_stored_once(store: Store):
    store.comparisons.add([comparison()])
    store.preferences.add([preference("1"), preference("1")])
    assert store.preferences.undo("human:ada") == preference("1")
    assert store.preferences.find() == []


def test_each_run_sees_its_own_ai_label_of_a_shared_comparison(store: Store):
    store.comparisons.add([comparison()])
    first = preference("1", labeler="ai:sandbox", run_id="first")
    second = preference("2", labeler="ai:sandbox", run_id="second", probability=0.25)
    store.preferences.add([first])
    store.preferences.add([second])
    assert store.preferences.find(run_id="first") == [first]
    assert store.preferences.find(run_id="second") == [second]


def test_a_labeler_without_a_kind_is_refused(store: Store):
    store.comparisons.add([comparison()])
    with pytest.raises(InvalidInput):
        store.preferences.add([preference("1", labeler="ada")])


def test_the_latest_revision_of_a_label_is_the_one_that_counts(store: Store):
    store.comparisons.add([comparison()])
    first, second = preference("1"), preference("2", probability=0.0, run_id="later")
    store.preferences.submit(first, "q1")
    store.preferences.submit(second, "q2")
    assert store.preferences.find() == [second]


def test_undo_brings_back_what_was_replaced_and_then_nothing(store: Store):
    store.comparisons.add([comparison("c"), comparison("d")])
    first, changed, other = preference("1"), preference("2", probability=0.0), preference("3", "d")
    for number, label in enumerate((first, changed, other)):
        store.preferences.submit(label, f"q{number}")
    assert store.preferences.undo("human:ada") == other
    assert store.preferences.undo("human:ada") == changed
    assert store.preferences.find() == [first]
    assert store.preferences.undo("human:bob") is None
    assert store.preferences.undo("human:ada") == first
    assert store.preferences.undo("human:ada") is None
    assert store.preferences.find() == []


def test_the_same_label_may_be_given_again_after_an_undo(store: Store):
    store.comparisons.add([comparison()])
    store.preferences.submit(preference("1"), "q1")
    store.preferences.undo("human:ada")
    store.preferences.submit(preference("1"), "q2")
    assert store.preferences.find() == [preference("1")]


def test_a_repeated_undo_request_undoes_no_other_label(store: Store):
    store.comparisons.add([comparison("c"), comparison("d")])
    store.preferences.submit(preference("1", "c"), "q1")
    store.preferences.submit(preference("2", "d"), "q2")
    assert store.preferences.undo("human:ada", "u1") == preference("2", "d")
    assert store.preferences.undo("human:ada", "u1") == preference("2", "d")
    assert store.preferences.find() == [preference("1", "c")]


def test_a_repeated_request_gives_the_same_answer_and_doubles_nothing(store: Store):
    store.comparisons.add([comparison()])
    assert store.preferences.submit(preference("1"), "q") == preference("1")
    assert store.preferences.submit(preference("1"), "q") == preference("1")
    store.preferences.undo("human:ada")
    assert store.preferences.find() == []
    with pytest.raises(Conflict, match="'q'"):
        store.preferences.submit(preference("2"), "q")


def test_a_label_needs_a_request_id_and_a_known_comparison(store: Store):
    with pytest.raises(InvalidInput):
        store.preferences.submit(preference("1"), "")
    with pytest.raises(NotFound, match="'c'"):
        store.preferences.submit(preference("1"), "q")


def test_people_are_asked_first_where_the_ai_abstained_then_where_it_is_least_sure(store: Store):
    store.comparisons.add([comparison(name) for name in ("unjudged", "sure", "unsure", "abstained")])
    store.preferences.add(
        [
            preference("1", "sure", "ai:j", probability=0.95),
            preference("2", "unsure", "ai:j", probability=0.45),
            preference("3", "abstained", "ai:j", probability=0.5, abstained=True),
            preference("4", "unjudged", "ai:j", objective="helpful", abstained=True),
        ]
    )
    seen = []
    while (following := store.comparisons.next("human:ada", "harmless")) is not None:
        assert store.comparisons.next("human:ada", "harmless") == following
        seen.append(following.id)
        choice = preference(f"mine-{following.id}", following.id).model_copy(update={"choice": "skip"})
        store.preferences.submit(choice, following.id)
    assert seen == ["abstained", "unsure", "sure", "unjudged"]
    following = store.comparisons.next("human:ada", "helpful")
    assert following is not None and following.id == "unjudged"


def test_every_fifth_question_comes_from_a_slice_that_knows_nothing_of_the_ai(store: Store):
    names = [f"pair-{n}" for n in range(40)]
    slice_ = sorted((name for name in names if uniform_draw(name) < UNIFORM_SLICE), key=uniform_draw)
    others = [name for name in names if name not in slice_]
    assert 4 <= len(slice_) <= 12, "forty pairs should have about eight in the slice"
    store.comparisons.add([comparison(name) for name in names])
    # The AI abstained in the slice only, so that a queue that looked at the AI would ask it first.
    store.preferences.add([preference(f"ai-{name}", name, "ai:j", abstained=True) for name in slice_])
    seen = []
    while (following := store.comparisons.next("human:ada", "harmless")) is not None:
        seen.append(following.id)
        store.preferences.submit(preference(f"mine-{following.id}", following.id), following.id)
    assert [name for name in seen if name in slice_] == slice_
    assert seen[4] == slice_[0] and seen[9] == slice_[1]
    assert seen[:4] == others[:4] and sorted(seen) == sorted(names)


def test_the_slice_can_be_asked_for_alone(store: Store):
    store.comparisons.add([comparison(f"pair-{n}") for n in range(40)])
    seen = []
    while (following := store.comparisons.next("human:ada", "harmless", uniform=True)) is not None:
        seen.append(uniform_draw(following.id))
        store.preferences.submit(preference(f"mine-{following.id}", following.id), following.id)
    assert seen == sorted(seen) and seen[-1] < UNIFORM_SLICE
    assert store.comparisons.next("human:ada", "harmless") is not None


def test_a_pair_that_no_principle_speaks_of_is_not_asked_first(store: Store):
    store.comparisons.add([comparison("silent"), comparison("unsure")])
    silent = preference("1", "silent", "ai:j", probability=0.5, abstained=True)
    store.preferences.add([silent.model_copy(update={"reason": "no_principle"})])
    store.preferences.add([preference("2", "unsure", "ai:j", probability=0.5, abstained=True)])
    following = store.comparisons.next("human:ada", "harmless")
    assert following is not None and following.id == "unsure"


def test_another_labeler_and_an_undone_label_leave_the_comparison_to_be_judged(store: Store):
    store.comparisons.add([comparison()])
    store.preferences.submit(preference("1", labeler="human:bob"), "q1")
    assert store.comparisons.next("human:ada", "harmless") == comparison()
    assert store.comparisons.next("human:bob", "harmless") is None
    store.preferences.undo("human:bob")
    assert store.comparisons.next("human:bob", "harmless") == comparison()


def test_only_the_comparisons_of_the_run_are_offered(store: Store):
    store.comparisons.add([comparison("c", "first"), comparison("d", "second")])
    store.preferences.add([preference("1", "c", "ai:j", abstained=True, run_id="first")])
    following = store.comparisons.next("human:ada", "harmless", run_id="second")
    assert following is not None and following.id == "d"
