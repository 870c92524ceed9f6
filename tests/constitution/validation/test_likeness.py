import pytest

from rlhf_core.constitution.validation.similarity import near_duplicates


def test_likeness_is_the_jaccard_index_of_words_weighted_by_rarity():
    # Shared: a, b and c, in two texts each, 3/2 in all. Alone: d and e, 1 each. 1.5 / (1.5 + 2) is below the threshold.
    assert near_duplicates(["a b c d", "a b c e"]) == []
    # Nine shared words weigh 4.5; 4.5 / (4.5 + 1) = 0.818.
    [(first, second, likeness)] = near_duplicates(["a b c d e f g h i", "A b c d e f g h i j"])
    assert (first, second) == (0, 1) and likeness == pytest.approx(4.5 / 5.5)


def test_equal_texts_are_each_paired_with_the_first_however_many_there_are():
    assert near_duplicates(["x y"] * 30) == [(0, at, 1.0) for at in range(1, 30)]


def test_texts_of_one_frame_that_differ_in_their_only_rare_word_are_not_alike():
    kinds = ("fumes", "burns", "shock", "cuts", "falls")
    assert near_duplicates([f"Check the reply for {kind}. Which reply has less {kind}?" for kind in kinds]) == []
