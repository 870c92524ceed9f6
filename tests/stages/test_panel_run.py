"""A whole run of the sandbox's model whose labels come of a panel, one of whose judges is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.interfaces import Caller, Conversation
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.runs import Run
from rlhf_core.sandbox.sandbox import MODEL_FOLDER
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.embedded import embedded_server
from services.serving.backends import LocalModel
from tests.small_run import SMALL

pytestmark = pytest.mark.slow
PANEL = [
    {"name": "pairs", "protocol": "notes"},
    {"name": "replies", "protocol": "pointwise"},
    {"name": "turned", "protocol": "logprobs"},
]


class Turned(LocalModel):
    """Takes the answer A for B, and B for A."""

    def __init__(self, backbone: Backbone, folder: str):
        super().__init__(backbone, folder)
        self.name = f"turned-{self.name}"

    def choose(self, conversations: Sequence[Conversation], labels: Sequence[str], caller: Caller) -> list[list[float]]:
        return [both[::-1] for both in super().choose(conversations, labels, caller)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Store, Path]]:
    """Judges by notes, of replies alone, and one whose answers are read the wrong way round."""
    data = tmp_path_factory.mktemp("panel-run")
    config = RunConfig.model_validate(
        SMALL.model_dump()
        | {
            "label": {"pairs": 96, "temperature": 1.5},
            # Of so few pairs: better than chance, which the broken judge is not.
            "gate": {"pairs": 10, "agreement": 0.5, "consistency": 0.0},
            "feedback": {"judge": {"panel": PANEL}},
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        turn_the_third_round(patch)
        with (
            embedded_server(data, config.model, feedback=config.feedback) as address,
            CharterClient.connect(address) as client,
        ):
            created = client.trainer.create_run(config)
            for _ in client.trainer.watch_run(created.id):
                pass
            run = client.trainer.get_run(created.id)
    store = Store.open(data)
    yield run, store, data
    store.close()


def turn_the_third_round(patch: pytest.MonkeyPatch) -> None:
    from services.serving import loaded_models

    load = loaded_models.load_backends

    def turned(*given):
        backends = load(*given)
        first, second, third = backends.panel
        assert isinstance(third.model, LocalModel)
        # It asks by notes, as the first, and takes A for B.
        broken = third._replace(model=Turned(third.model.backbone, str(MODEL_FOLDER)), protocol="notes")
        return backends._replace(panel=(first, second, broken))

    patch.setattr(loaded_models, "load_backends", turned)


def test_the_broken_judge_is_left_out_and_the_others_label(finished: tuple[Run, Store, Path]):
    run, store, _ = finished
    assert (run.state, run.error) == ("SUCCEEDED", "")
    for objective in ("helpful", "harmless"):
        gates = {gate.judge: gate for gate in store.gates.find(run.id) if gate.objective == objective}
        assert gates["replies"].passed and not gates["turned"].passed and gates["turned"].weight == 0
        assert gates["turned"].agreement == pytest.approx(1 - gates["pairs"].agreement)
        (whole,) = (gate for gate in gates.values() if not gate.panel)
        assert whole.passed and whole.agreement > 0.8
        labels = store.preferences.find(objective, run_id=run.id, labelers="ai")
        assert labels and {label.labeler for label in labels} == {f"ai:{whole.judge}"}
        assert all([one.judge for one in label.opinions] == ["pairs", "replies", "turned"] for label in labels)


def test_the_report_shows_each_judge_and_what_it_took(finished: tuple[Run, Store, Path]):
    run, store, data = finished
    report = json.loads((data / "runs" / run.id / "report.json").read_text())
    panel = report["feedback"]["panel"]
    assert {gate["judge"] for gate in panel["gates"]} == {"pairs", "replies", "turned"}
    assert all(not gate["panel"] for gate in report["feedback"]["gates"])
    taken = panel["taken"]
    votes = store.stage_results.of_run(run.id)["label"].counts["votes.asked"]
    assert sum(one["votes"] for one in taken.values()) == votes and all(one["seconds"] > 0 for one in taken.values())
    page = (data / "runs" / run.id / "report.html").read_text()
    assert "left out</b>" in page and "what each took" in page


def test_reward_models_learn_from_lines_of_the_judge_that_criticises(finished: tuple[Run, Store, Path]):
    """What they learn is the panel's labels, or the lines of the one who counts: never those of the broken judge."""
    run, store, _ = finished
    models = store.stage_results.of_run(run.id)["reward"].reward_models
    assert set(models) == {"helpful", "harmless"}
    assert not any(store.reward_models.get(name).ungated for name in models.values())
