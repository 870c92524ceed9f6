import pytest

from rlhf_core.errors import Conflict, InvalidInput, NotFound
from rlhf_core.seeding import UNIFORM_SLICE, uniform_draw
from rlhf_core.store.store import Store
from tests.store.examples import comparison, preference, sample, vote


def test_a_comparison_brings_its_samples_and_comes_back_whole(store: Store):
    store.add_comparisons([comparison("c"), comparison("d")])
    assert store.comparison("d") == comparison("d")
    assert store.comparisons("run") == [comparison("c"), comparison("d")]
    assert store.sample("c-b") == sample("c-b")
    with pytest.raises(NotFound):
        store.comparison("e")


def test_votes_are_found_by_comparison_by_run_and_by_id(store: Store):
    store.add_comparisons([comparison("c"), comparison("d")])
    votes = [vote("1"), vote("2", swapped=True), vote("3", "d")]
    store.add_votes(votes)
    assert store.votes(["c"]) == votes[:2]
    assert store.votes(run_id="run") == votes
    assert store.votes([]) == []
    assert store.votes_by_id(["3", "none"]) == {"3": votes[2]}


def test_a_cached_vote_joins_a_later_run_without_being_doubled(store: Store):
    store.add_comparisons([comparison()])
    store.add_votes([vote("1")])
    store.add_votes([vote("1", run_id="later")])
    assert store.votes() == [vote("1")]
    assert store.votes(run_id="later") == [vote("1")]


def test_a_vote_on_an_unknown_comparison_is_refused(store: Store):
    with pytest.raises(NotFound):
        store.add_votes([vote("1", "missing")])


def test_preferences_are_chosen_by_objective_run_and_kind_of_labeler(store: Store):
    store.add_comparisons([comparison()])
    ai = preference("1", labeler="ai:sandbox", probability=0.8)
    other = preference("2", labeler="ai:sandbox", objective="helpful", run_id="later")
    human = preference("3")
    store.add_preferences([ai, other, human])
    store.add_preferences([ai, other, human])
    assert store.preferences() == [ai, other, human]
    assert store.preferences("harmless") == [ai, human]
    assert store.preferences(run_id="later") == [other]
    assert store.preferences(labelers="human") == [human]
    assert store.preferences("harmless", labelers="ai") == [ai]


def test_a_preference_named_twice_in_one_call_is_stored_once(store: Store):
    store.add_comparisons([comparison()])
    store.add_preferences([preference("1"), preference("1")])
    assert store.undo_preference("human:ada") == preference("1")
    assert store.preferences() == []


def test_each_run_sees_its_own_ai_label_of_a_shared_comparison(store: Store):
    store.add_comparisons([comparison()])
    first = preference("1", labeler="ai:sandbox", run_id="first")
    second = preference("2", labeler="ai:sandbox", run_id="second", probability=0.25)
    store.add_preferences([first])
    store.add_preferences([second])
    assert store.preferences(run_id="first") == [first]
    assert store.preferences(run_id="second") == [second]


def test_a_labeler_without_a_kind_is_refused(store: Store):
    store.add_comparisons([comparison()])
    with pytest.raises(InvalidInput):
        store.add_preferences([preference("1", labeler="ada")])


def test_the_latest_revision_of_a_label_is_the_one_that_counts(store: Store):
    store.add_comparisons([comparison()])
    first, second = preference("1"), preference("2", probability=0.0, run_id="later")
    store.submit_preference(first, "q1")
    store.submit_preference(second, "q2")
    assert store.preferences() == [second]


def test_undo_brings_back_what_was_replaced_and_then_nothing(store: Store):
    store.add_comparisons([comparison("c"), comparison("d")])
    first, changed, other = preference("1"), preference("2", probability=0.0), preference("3", "d")
    for number, label in enumerate((first, changed, other)):
        store.submit_preference(label, f"q{number}")
    assert store.undo_preference("human:ada") == other
    assert store.undo_preference("human:ada") == changed
    assert store.preferences() == [first]
    assert store.undo_preference("human:bob") is None
    assert store.undo_preference("human:ada") == first
    assert store.undo_preference("human:ada") is None
    assert store.preferences() == []


def test_the_same_label_may_be_given_again_after_an_undo(store: Store):
    store.add_comparisons([comparison()])
    store.submit_preference(preference("1"), "q1")
    store.undo_preference("human:ada")
    store.submit_preference(preference("1"), "q2")
    assert store.preferences() == [preference("1")]


def test_a_repeated_undo_request_undoes_no_other_label(store: Store):
    store.add_comparisons([comparison("c"), comparison("d")])
    store.submit_preference(preference("1", "c"), "q1")
    store.submit_preference(preference("2", "d"), "q2")
    assert store.undo_preference("human:ada", "u1") == preference("2", "d")
    assert store.undo_preference("human:ada", "u1") == preference("2", "d")
    assert store.preferences() == [preference("1", "c")]


def test_a_repeated_request_gives_the_same_answer_and_doubles_nothing(store: Store):
    store.add_comparisons([comparison()])
    assert store.submit_preference(preference("1"), "q") == preference("1")
    assert store.submit_preference(preference("1"), "q") == preference("1")
    store.undo_preference("human:ada")
    assert store.preferences() == []
    with pytest.raises(Conflict, match="'q'"):
        store.submit_preference(preference("2"), "q")


def test_a_label_needs_a_request_id_and_a_known_comparison(store: Store):
    with pytest.raises(InvalidInput):
        store.submit_preference(preference("1"), "")
    with pytest.raises(NotFound, match="'c'"):
        store.submit_preference(preference("1"), "q")


def test_people_are_asked_first_where_the_ai_abstained_then_where_it_is_least_sure(store: Store):
    store.add_comparisons([comparison(name) for name in ("unjudged", "sure", "unsure", "abstained")])
    store.add_preferences(
        [
            preference("1", "sure", "ai:j", probability=0.95),
            preference("2", "unsure", "ai:j", probability=0.45),
            preference("3", "abstained", "ai:j", probability=0.5, abstained=True),
            preference("4", "unjudged", "ai:j", objective="helpful", abstained=True),
        ]
    )
    seen = []
    while (following := store.next_comparison("human:ada", "harmless")) is not None:
        assert store.next_comparison("human:ada", "harmless") == following
        seen.append(following.id)
        choice = preference(f"mine-{following.id}", following.id).model_copy(update={"choice": "skip"})
        store.submit_preference(choice, following.id)
    assert seen == ["abstained", "unsure", "sure", "unjudged"]
    following = store.next_comparison("human:ada", "helpful")
    assert following is not None and following.id == "unjudged"


def test_every_fifth_question_comes_from_a_slice_that_knows_nothing_of_the_ai(store: Store):
    names = [f"pair-{n}" for n in range(40)]
    slice_ = sorted((name for name in names if uniform_draw(name) < UNIFORM_SLICE), key=uniform_draw)
    others = [name for name in names if name not in slice_]
    assert 4 <= len(slice_) <= 12, "forty pairs should have about eight in the slice"
    store.add_comparisons([comparison(name) for name in names])
    # The AI abstained in the slice only, so that a queue that looked at the AI would ask it first.
    store.add_preferences([preference(f"ai-{name}", name, "ai:j", abstained=True) for name in slice_])
    seen = []
    while (following := store.next_comparison("human:ada", "harmless")) is not None:
        seen.append(following.id)
        store.submit_preference(preference(f"mine-{following.id}", following.id), following.id)
    assert [name for name in seen if name in slice_] == slice_
    assert seen[4] == slice_[0] and seen[9] == slice_[1]
    assert seen[:4] == others[:4] and sorted(seen) == sorted(names)


def test_the_slice_can_be_asked_for_alone(store: Store):
    store.add_comparisons([comparison(f"pair-{n}") for n in range(40)])
    seen = []
    while (following := store.next_comparison("human:ada", "harmless", uniform=True)) is not None:
        seen.append(uniform_draw(following.id))
        store.submit_preference(preference(f"mine-{following.id}", following.id), following.id)
    assert seen == sorted(seen) and seen[-1] < UNIFORM_SLICE
    assert store.next_comparison("human:ada", "harmless") is not None


def test_a_pair_that_no_principle_speaks_of_is_not_asked_first(store: Store):
    store.add_comparisons([comparison("silent"), comparison("unsure")])
    silent = preference("1", "silent", "ai:j", probability=0.5, abstained=True)
    store.add_preferences([silent.model_copy(update={"reason": "no_principle"})])
    store.add_preferences([preference("2", "unsure", "ai:j", probability=0.5, abstained=True)])
    following = store.next_comparison("human:ada", "harmless")
    assert following is not None and following.id == "unsure"


def test_another_labeler_and_an_undone_label_leave_the_comparison_to_be_judged(store: Store):
    store.add_comparisons([comparison()])
    store.submit_preference(preference("1", labeler="human:bob"), "q1")
    assert store.next_comparison("human:ada", "harmless") == comparison()
    assert store.next_comparison("human:bob", "harmless") is None
    store.undo_preference("human:bob")
    assert store.next_comparison("human:bob", "harmless") == comparison()


def test_only_the_comparisons_of_the_run_are_offered(store: Store):
    store.add_comparisons([comparison("c", "first"), comparison("d", "second")])
    store.add_preferences([preference("1", "c", "ai:j", abstained=True, run_id="first")])
    following = store.next_comparison("human:ada", "harmless", run_id="second")
    assert following is not None and following.id == "d"
