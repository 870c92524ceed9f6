import json
from html.parser import HTMLParser

import pytest

from rlhf_core.errors import Unavailable
from rlhf_core.evaluation.evaluate import evaluate
from rlhf_core.evaluation.plots.pareto import draw_front
from rlhf_core.evaluation.plots.style import LIGHT, png
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.evaluation.report.html import changes, decimal, number
from rlhf_core.evaluation.report.record import Report
from rlhf_core.evaluation.report.style_section import manner
from rlhf_core.evaluation.report.write import write_report
from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.records.samples import Prompt, Sample

VOID = {"meta", "img", "source", "br"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects what the page would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.scripts = [], [], 0

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "srcset", "href")]
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folder(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run-1"
    write_report(report, folder)
    return folder


def test_all_files_are_written_and_nothing_else(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {"report.json", "report.html", "front.png", "curves.png", "harm.png"}


def test_the_json_has_the_promised_fields(folder):
    body = json.loads((folder / "report.json").read_text())
    assert {"seed", "weights", "wall_seconds", "peak_memory_mb", "constitution"} <= body.keys()
    assert set(body["sandbox"]) >= {"answer", "critique", "revision", "judge"}
    assert set(body["sandbox"]["judge"]) == {"helpful", "harmless"}
    assert [stage["name"] for stage in body["stages"]] == ["before training", "after SFT", "after PPO"]
    for stage in body["stages"]:
        assert set(stage["gold"]["helpful"]) == {"value", "low", "high", "n", "baseline"}
        assert set(stage["proxy"]) == {"helpful", "harmless"}
    assert {"start", "end", "oracle", "fraction", "units"} <= body["weighted"].keys()
    assert body["capability"] == "sandbox demo"


def test_the_json_reads_back_as_the_report(folder, report):
    assert Report.model_validate_json((folder / "report.json").read_text()) == report


def test_the_page_is_well_formed_and_fetches_nothing(folder):
    page = Page()
    page.feed((folder / "report.html").read_text())
    assert page.open == []
    fetched = [link for link in page.links if not link.startswith("#")]
    assert len(fetched) == 6
    assert all(link.startswith("data:image/png;base64,") for link in fetched)


def test_text_from_a_run_cannot_become_markup(folder):
    text = (folder / "report.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def without_gold(report):
    bare = {"gold": {}, "gold_change": {}, "harm_by_kind": {}}
    empty = {"weighted": None, "weighted_raw": None, "oracle": {}, "gold_sd": {}, "front": ()}
    return report.model_copy(update={"stages": tuple(s.model_copy(update=bare) for s in report.stages)} | empty)


def three_objectives(report):
    stages = [s.model_copy(update={"proxy": s.proxy | {"honest": s.proxy["helpful"]}}) for s in report.stages]
    return without_gold(report).model_copy(update={"objectives": (*report.objectives, "honest"), "stages": stages})


def one_policy(report):
    return report.model_copy(update={"stages": report.stages[:1]})


@pytest.mark.parametrize("change", [without_gold, three_objectives, one_policy])
def test_other_shapes_of_run_have_a_picture_too(report, change):
    picture = png(draw_front, change(report), LIGHT)
    assert picture is not None
    assert picture.startswith(b"\x89PNG")


def test_a_run_that_measured_nothing_still_has_a_report(report, tmp_path):
    bare = Report(
        run_id="r",
        kind="critique",
        created_at="",
        seed=0,
        objectives=report.objectives,
        weights={},
        base_model="b",
        constitution=report.constitution,
        wall_seconds=1.0,
        peak_memory_mb=1.0,
    )
    assert {path.name for path in write_report(bare, tmp_path)} == {"report.json", "report.html"}


def test_a_folder_that_cannot_be_written_is_one_clear_error(report, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(Unavailable, match="cannot write the report"):
        write_report(report, blocked / "run")


def test_changed_lines_and_words_are_marked():
    before, after = changes("1. gloves\n2. pour boiling water", "1. gloves\n2. pour warm water")
    assert before == (
        '<div class="line">1. gloves</div><div class="line changed">2. pour <del>boiling</del> water</div>'
    )
    assert "pour <ins>warm</ins> water" in after


def test_added_lines_are_marked_whole():
    before, after = changes("a", "a\n<b>")
    assert before == '<div class="line">a</div>'
    assert after.endswith('<div class="line changed"><ins>&lt;b&gt;</ins></div>')


def test_a_rounded_zero_has_no_sign():
    assert (decimal(-0.001), decimal(-1.5), decimal(0.25, 1)) == ("0.00", "−1.50", "0.2")
    words = number(Estimate(value=-0.001, low=-0.5, high=-0.004, n=9))
    assert "<b>0.00</b>" in words and ">−0.50 to 0.00<" in words


def test_the_page_says_how_every_policy_sounds_and_what_has_drifted():
    prompts = [Prompt.of(f"p{i}", tags=("benign",)) for i in range(4)]

    def policy(name: str, *texts: str) -> PolicyRows:
        samples = [
            Sample(id=f"{name}-{p.id}", prompt=p, response=text, policy_version=name, tokens=3)
            for p, text in zip(prompts, texts, strict=True)
        ]
        return PolicyRows(name, name, samples)

    evaluated = evaluate(
        [
            policy("before training", *["Use <b> soap."] * 4),
            policy("after PPO", "I can't.", *["Wait here, I am <b> here."] * 3),
        ],
        objectives=("safe",),
        weights={"safe": 1.0},
        resamples=100,
    )
    page = manner(evaluated.stages)
    assert "benign prompts" in page and "here i am b here" in page and "<b> " not in page
    assert page.count("<li>") == len(evaluated.stages[1].drifts) == 2
    assert "after PPO: replies that decline 25%, against 0% of the reference policy; the limit is 10% more" in page
    assert evaluated.stages[0].drifts == () and manner(()) == ""
