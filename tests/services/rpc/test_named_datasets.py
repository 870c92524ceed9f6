"""Runs that name datasets: each keeps the version that it was given, and says so."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.run import ModelConfig, RunConfig
from rlhf_core.constitution.load import builtin_text
from rlhf_core.data.loaders import load_prompts
from rlhf_core.datasets.references import pinned, rows_at
from rlhf_core.errors import Conflict, InvalidInput, NotFound, NoWorker
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.rpc.constitutions import Constitutions
from services.rpc.run_requests import RunDesk
from services.server.config import WITHOUT_MODEL, ServeConfig
from tests.services.apps import serving
from tests.services.run_server import RunServer, run_server

PROMPTS = [f"How do I wash pot {number}?" for number in range(4)]
STEPS = '{"prompt": "Tea?", "completions": ["Boil.", "Pour."], "labels": [true, false]}\n'


@pytest.fixture
def server(tmp_path: Path):
    with run_server(tmp_path / "data") as found:
        yield found


def upload(server: RunServer, folder: Path, name: str, text: str, format_="prompts"):
    (folder / "file").write_text(text)
    return server.client.datasets.upload(folder / "file", name, format_)


def prompts(*texts: str) -> str:
    return "".join(f"{json.dumps({'prompt': text})}\n" for text in texts)


def test_a_run_records_the_hash_that_its_name_meant_and_keeps_to_it(server, tmp_path):
    first = upload(server, tmp_path, "mine", prompts(*PROMPTS))
    run = server.client.trainer.create_run(RunConfig.model_validate({"data": {"prompts": "dataset:mine"}}))
    assert json.loads(run.config)["data"]["prompts"] == f"dataset:mine@{first.hash}" == first.reference
    upload(server, tmp_path, "mine", prompts("Another?", "Yet another?"))
    with_new = server.client.trainer.create_run(RunConfig.model_validate({"data": {"prompts": "dataset:mine"}}))
    store = Store.open(tmp_path / "data")
    texts = [
        [
            prompt.messages[0].content
            for prompt in load_prompts(rows_at(store, json.loads(one.config)["data"]["prompts"]))
        ]
        for one in (server.client.trainer.get_run(run.id), with_new)
    ]
    store.close()
    assert texts == [PROMPTS, ["Another?", "Yet another?"]]
    assert set(server.client.datasets.get("mine").run_ids) == {run.id, with_new.id}


@pytest.mark.parametrize("name", ["mine", "mine@{short}", "{hash}"])
def test_a_version_may_be_named_in_three_ways(server, tmp_path, name):
    made = upload(server, tmp_path, "mine", prompts(*PROMPTS))
    text = "dataset:" + name.format(short=made.hash[:8], hash=made.hash)
    run = server.client.trainer.create_run(RunConfig.model_validate({"data": {"prompts": text}}))
    assert json.loads(run.config)["data"]["prompts"] == made.reference


def test_a_hash_that_two_formats_have_is_of_the_one_that_the_setting_reads(server, tmp_path):
    text = '{"prompt": "Tea?", "completion": "Yes."}\n'
    shown = upload(server, tmp_path, "shown", text, "demonstrations")
    asked = upload(server, tmp_path, "asked", text, "prompts")
    assert shown.hash == asked.hash
    both = {"demonstrations": f"dataset:{shown.hash}", "prompts": f"dataset:{shown.hash}"}
    run = server.client.trainer.create_run(RunConfig.model_validate({"data": both}))
    kept = json.loads(run.config)["data"]
    assert (kept["demonstrations"], kept["prompts"]) == (shown.reference, asked.reference)
    with pytest.raises(InvalidInput, match="of format prompts; allowed: preferences"):
        data = {"preferences": f"dataset:{shown.hash}", "preferences_objective": "helpful"}
        server.client.trainer.create_run(RunConfig.model_validate({"data": data}))


def test_a_dataset_that_is_deleted_while_a_run_is_made_is_no_runs(server, tmp_path):
    upload(server, tmp_path, "mine", prompts(*PROMPTS))
    with closing(Store.open(tmp_path / "data")) as store:
        desk = RunDesk(store, Constitutions(store, "household"), ModelConfig(), FeedbackConfig())
        checked = desk.check('{"data": {"prompts": "dataset:mine"}}', "")
        server.client.datasets.delete("mine")
        with pytest.raises(InvalidInput, match='no dataset "mine"'):
            desk.queue(checked, "r", {})
        assert store.runs.page(9)[0] == []


def test_every_setting_takes_a_dataset_of_its_own_format(server, tmp_path):
    pair = '{"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}\n'
    upload(server, tmp_path, "asked", prompts(*PROMPTS))
    upload(server, tmp_path, "held", prompts("Kept back?"))
    upload(server, tmp_path, "shown", '{"prompt": "Tea?", "completion": "Yes."}\n', "demonstrations")
    upload(server, tmp_path, "pairs", pair, "preferences")
    upload(server, tmp_path, "rated", '{"prompt": "Tea?", "response": "Yes.", "rating": 4}\n', "ratings")
    data = {
        **{"prompts": "dataset:asked", "heldout_prompts": "dataset:held", "demonstrations": "dataset:shown"},
        **{"replay": "dataset:shown", "preferences": "dataset:pairs", "preferences_objective": "helpful"},
        "labels": {"helpful": "dataset:rated", "harmless": "dataset:pairs"},
    }
    config = {"constitution": "household", "data": data, "ppo": {"ptx_coef": 0.5}}
    run = server.client.trainer.create_run(RunConfig.model_validate(config))
    kept = json.loads(run.config)["data"]
    for name in ("prompts", "heldout_prompts", "demonstrations", "replay", "preferences"):
        assert kept[name].startswith(f"{data[name]}@")
    assert kept["labels"]["helpful"].startswith("dataset:rated@") and "@" in kept["labels"]["harmless"]
    assert server.client.datasets.get("pairs").run_ids == (run.id,)


@pytest.mark.parametrize(
    ("data", "field", "told"),
    [
        ({"prompts": "dataset:nine"}, "data.prompts", 'did you mean "mine"'),
        ({"prompts": "dataset:"}, "data.prompts", "dataset:NAME@HASH"),
        ({"prompts": "dataset:mine@zz"}, "data.prompts", "hexadecimal"),
        ({"prompts": "dataset:mine@0123456789"}, "data.prompts", "no version with the hash '0123456789'"),
        ({"prompts": "dataset:" + "0" * 64}, "data.prompts", "no dataset with the hash"),
        ({"prompts": "dataset:../../etc/passwd"}, "data.prompts", "names no dataset"),
        ({"demonstrations": "dataset:mine"}, "data.demonstrations", "of format prompts; allowed: demonstrations"),
        ({"preferences": "dataset:mine", "preferences_objective": "helpful"}, "data.preferences", "format prompts"),
        ({"labels": {"helpful": "dataset:mine"}}, "data.labels.helpful", "allowed: preferences, ratings, rankings"),
        ({"labels": {"helpful": "dataset:steps"}}, "reward.process", "labels of steps"),
    ],
)  # fmt: skip
def test_a_reference_that_does_not_fit_is_refused_with_its_setting(server, tmp_path, data, field, told):
    upload(server, tmp_path, "mine", prompts(*PROMPTS))
    upload(server, tmp_path, "steps", STEPS, "steps")
    config = {"constitution": "household", "data": data, "reward": {"process": []}}
    with pytest.raises(InvalidInput) as caught:
        server.client.trainer.create_run(RunConfig.model_validate(config))
    assert caught.value.field == field and told in str(caught.value), str(caught.value)
    assert server.client.trainer.list_runs().runs == []


def test_a_dataset_that_a_run_was_given_is_not_deleted_without_saying_so(server, tmp_path):
    upload(server, tmp_path, "mine", prompts(*PROMPTS))
    upload(server, tmp_path, "m_ne", prompts("Alike by its name?"))
    run = server.client.trainer.create_run(RunConfig.model_validate({"data": {"prompts": "dataset:mine"}}))
    with pytest.raises(Conflict, match=f"what runs were given: {run.id}; .*although it is used"):
        server.client.datasets.delete("mine")
    assert server.client.datasets.delete("m_ne").runs == ()
    assert server.client.datasets.delete("mine", although_used=True).runs == (run.id,)
    store = Store.open(tmp_path / "data")
    with pytest.raises(NotFound, match="no dataset"):
        rows_at(store, json.loads(run.config)["data"]["prompts"])
    store.close()


def test_garbage_is_only_what_no_dataset_has(server, tmp_path):
    upload(server, tmp_path, "mine", prompts(*PROMPTS))
    upload(server, tmp_path, "twin", prompts(*PROMPTS))
    store = Store.open(tmp_path / "data")
    server.client.datasets.delete("mine")
    assert store.garbage.orphans().digests == ()
    server.client.datasets.delete("twin")
    assert len(store.garbage.orphans().digests) == 1
    store.close()


def test_a_constitution_may_be_a_dataset(server, tmp_path):
    text = builtin_text("household").replace("id: household", "id: cottage")
    made = upload(server, tmp_path, "law", text, "constitution")
    run = server.client.trainer.create_run(RunConfig(constitution="dataset:law", weights={"helpful": 2.0}))
    assert json.loads(run.config)["constitution"] == made.reference
    upload(server, tmp_path, "law", text.replace("cottage", "hut"), "constitution")
    store = Store.open(tmp_path / "data")
    assert "cottage" in store.constitutions.text(run.constitution_hash)
    found, _ = Constitutions(store, "household").find("dataset:law")
    assert found.id == "hut"
    with pytest.raises(InvalidInput, match="allowed: constitution"):
        upload(server, tmp_path, "mine", prompts(*PROMPTS))
        Constitutions(store, "household").find("dataset:mine")
    config = RunConfig(constitution="dataset:law")
    assert pinned(store, pinned(store, config)) == pinned(store, config) != config
    store.close()
    with pytest.raises(InvalidInput, match="of format constitution; allowed: prompts") as caught:
        server.client.trainer.create_run(RunConfig.model_validate({"data": {"prompts": "dataset:law"}}))
    assert caught.value.field == "data.prompts"


def test_a_server_with_roots_takes_datasets_all_the_same(tmp_path):
    def look(address: str) -> None:
        with CharterClient.connect(address) as client:
            (tmp_path / "file").write_text(prompts(*PROMPTS))
            client.datasets.upload(tmp_path / "file", "mine", "prompts")
            config = RunConfig.model_validate({"data": {"prompts": "dataset:mine"}})
            # Nobody carries out runs here, which is looked at last.
            with pytest.raises(NoWorker):
                client.trainer.create_run(config)

    config = ServeConfig(
        address=f"unix:{tmp_path}/s", data=tmp_path / "d", only=WITHOUT_MODEL, roots=(tmp_path / "none",)
    )
    serving(config, look)
