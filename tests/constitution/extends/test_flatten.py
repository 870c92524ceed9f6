from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.constitution.constitution import Constitution, Objective, Principle
from rlhf_core.constitution.extends.flatten import flat_yaml
from rlhf_core.constitution.load import load_constitution, parse_constitution

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40).filter(
    lambda text: text.strip() and "{" not in text and "}" not in text
)


@given(TEXT, TEXT, st.floats(0, 1e6), st.sampled_from(["null", "true", "no", "1e5", ".5", "- a", "# b", "x: y", "~"]))
def test_any_text_and_number_come_back(compare, title, weight, word):
    constitution = Constitution(
        id="home",
        version="1.0.0",
        title=title,
        objectives=(Objective(name="helpful", description=word),),
        principles=(
            Principle(id="one", serves={"helpful": 1}, compare=compare, title=word),
            Principle(id="two", serves={"helpful": 0.25}, compare="Which?", weight=weight),
        ),
    )
    back = parse_constitution(flat_yaml(constitution), "flat")
    assert (back.hash, back.principles, back.objectives, back.title) == (
        constitution.hash,
        constitution.principles,
        constitution.objectives,
        constitution.title,
    )


def test_the_assistant_becomes_one_file_with_all_its_principles():
    constitution = load_constitution("assistant")
    text = flat_yaml(constitution)
    back = parse_constitution(text, "flat")
    assert (back.hash, back.principles, back.changelog) == (
        constitution.hash,
        constitution.principles,
        constitution.changelog,
    )
    own, base = (file.hash for file in constitution.files)
    assert text.startswith(f'# Resolved from "assistant" {own}, "builtin:base-safety" {base}\nschema: ')
    assert back.extends == () and len(back.files) == 1
