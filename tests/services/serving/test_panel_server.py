"""A server whose labels come of several judges: each is asked by itself, and an answer says what each of them said."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import pytest
from charter.v1 import critique_pb2, critique_pb2_grpc, server_pb2, server_pb2_grpc

from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.constitution.load import builtin_text, parse_constitution
from rlhf_core.errors import InvalidInput
from rlhf_core.records.feedback import Vote
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.embedded import embedded_server
from services.rpc.critique import at_once
from services.wire.samples import comparison_to_message, vote_from_message
from tests.conftest import save_model, save_tokenizer
from tests.endpoint import Reply, Request, says, served
from tests.services.serving.test_backends import KEY, NO_SHOCK, careful, pair

SHOCK = critique_pb2.PrincipleRef(constitution="household", principle_id=NO_SHOCK)
LOGPROBS = {"name": "at-once", "protocol": "logprobs"}
NOTES = {"name": "noted", "protocol": "notes", "weight": 3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    found = {}
    for seed, name in enumerate(("answerer", "other-judge")):
        folder = tmp_path_factory.mktemp("panel") / name
        folder.mkdir()
        save_model(folder, "llama", seed=seed, context=4096)
        save_tokenizer(folder)
        found[name] = str(folder)
    return found


@contextmanager
def serving(data: Path, folders: dict[str, str], **judge: object) -> Iterator[tuple[CharterClient, str]]:
    model = ModelConfig(base_model=folders["answerer"], threads=1, feedback_tokens=8, lora=LoraConfig(rank=4, alpha=8))
    feedback = FeedbackConfig.model_validate({"judge": judge})
    with (
        embedded_server(data, model, feedback=feedback, works=False) as address,
        CharterClient.connect(address) as client,
    ):
        yield client, address


@pytest.fixture(scope="module")
def panel(folders: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CharterClient, str]]:
    other = {"name": "other", "protocol": "logprobs", "model": folders["other-judge"]}
    with serving(tmp_path_factory.mktemp("data"), folders, panel=[LOGPROBS, NOTES, other]) as client:
        yield client


def compare(address: str, judge: str = "") -> critique_pb2.CompareResponse:
    request = critique_pb2.CompareRequest(comparisons=[comparison_to_message(pair())], principles=[SHOCK], judge=judge)
    with grpc.insecure_channel(address) as channel:
        return critique_pb2_grpc.CritiqueServiceStub(channel).Compare(request)


def odds(vote: Vote) -> float:
    return vote.logprob_a - vote.logprob_b


def alone(folders: dict[str, str], data: Path, protocol: str, model: str = "policy") -> list[Vote]:
    with serving(data, folders, protocol=protocol, model=model) as (client, _):
        law = client.critique.get_constitution("household").constitution
        return client.critique.feedback("household").compare([(pair(), law.principle(NO_SHOCK))])


def test_an_answer_of_a_panel_says_each_judge_s_votes_which_are_those_that_it_gives_alone(
    panel: tuple[CharterClient, str], folders: dict[str, str], tmp_path: Path
):
    answer = compare(panel[1])
    assert [one.judge.name for one in answer.panel] == ["at-once", "noted", "other"] and not answer.votes
    votes = [[vote_from_message(vote) for vote in one.votes] for one in answer.panel]
    expected = [
        alone(folders, tmp_path / "a", "logprobs"),
        alone(folders, tmp_path / "b", "notes"),
        alone(folders, tmp_path / "c", "logprobs", folders["other-judge"]),
    ]
    for own, same in zip(votes, expected, strict=True):
        assert [vote.id for vote in own] == [vote.id for vote in same]
        assert [odds(vote) for vote in own] == pytest.approx([odds(vote) for vote in same], abs=1e-5)
    assert len({vote.id for own in votes for vote in own}) == 6
    (judged,) = answer.judgements
    first, second = (sum(w * odds(own[i]) for w, own in zip((1, 3, 1), votes, strict=True)) / 5 for i in range(2))
    assert judged.probability == pytest.approx(1 / (1 + math.exp(-(first + second) / 2)))
    assert judged.gap == pytest.approx(abs(1 / (1 + math.exp(-first)) - 1 / (1 + math.exp(-second))))


def test_a_judge_of_the_panel_can_be_asked_alone_by_its_name(panel: tuple[CharterClient, str]):
    together, other = compare(panel[1]), compare(panel[1], "other")
    assert not other.panel and [vote.judge for vote in other.votes] == [together.panel[2].judge.judge] * 2
    assert [vote.id for vote in other.votes] == [vote.id for vote in together.panel[2].votes]


def test_a_name_that_no_judge_has_is_refused_with_those_there_are(panel: tuple[CharterClient, str]):
    with pytest.raises(
        grpc.RpcError, match=r"'nobody' is none of the judges.*allowed: at-once, noted, other, or empty"
    ):
        compare(panel[1], "nobody")


def test_the_client_names_the_panel_and_asks_each_judge_of_it_and_the_first_wherever_one_is_enough(
    panel: tuple[CharterClient, str],
):
    client, _ = panel
    chair = client.critique.feedback("household")
    members = chair.panel
    assert [(one.name, one.protocol, one.weight) for one in members] == [
        ("at-once", "logprobs", 1),
        ("noted", "notes", 3),
        ("other", "logprobs", 1),
    ]
    assert (chair.name, chair.template_hash) == (members[0].feedback.name, members[0].feedback.template_hash)
    assert members[1].feedback.template_hash != chair.template_hash and members[2].feedback.name != chair.name
    question = [(pair(), client.critique.get_constitution("household").constitution.principle(NO_SHOCK))]
    each = [one.feedback.compare(question) for one in members]
    assert [[vote.id for vote in own] for own in each] == [
        [vote.id for vote in one.votes] for one in compare(panel[1]).panel
    ]
    assert [vote.id for vote in chair.compare(question)] == [vote.id for vote in each[0]]


def test_every_judge_of_a_panel_is_among_the_models_that_a_server_names(panel: tuple[CharterClient, str]):
    with grpc.insecure_channel(panel[1]) as channel:
        info = server_pb2_grpc.ServerServiceStub(channel).GetInfo(server_pb2.GetInfoRequest())
    judges = [model.model for model in info.info.models if model.role == "judge"]
    assert [name.split("@")[0] for name in judges] == ["answerer", "answerer", "other-judge"]


def test_one_judge_alone_is_asked_without_a_name(folders: dict[str, str], tmp_path: Path):
    with serving(tmp_path, folders, protocol="logprobs") as (client, address):
        assert client.critique.feedback("household").panel == []
        assert len(compare(address).votes) == 2 and not compare(address).panel
        with pytest.raises(grpc.RpcError, match="'at-once' is none of the judges of a panel here"):
            compare(address, "at-once")


def test_what_an_endpoint_of_the_panel_is_paid_is_told_apart_from_the_rest(
    folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with served(careful) as server:
        paid = {"name": "paid", "model": "openai:tiny", "protocol": "logprobs", "endpoint": {"base_url": server.url}}
        with serving(tmp_path, folders, panel=[LOGPROBS, paid]) as (_, address):
            answer = compare(address)
    assert [one.usage.requests for one in answer.panel] == [0, 2] and answer.usage == answer.panel[1].usage
    assert answer.panel[1].usage.prompt_tokens > 0


def test_a_judge_that_cannot_read_replies_cannot_contrast_and_is_named_by_its_place(
    folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with served(careful) as server:
        paid = {"name": "paid", "model": "openai:tiny", "protocol": "contrast", "endpoint": {"base_url": server.url}}
        refused = pytest.raises(InvalidInput, match=r"feedback\.judge\.panel\.1\.protocol is contrast")
        with refused, serving(tmp_path, folders, panel=[LOGPROBS, paid]):
            pass


def test_where_one_judge_fails_the_others_are_given_up():
    ended: list[str] = []

    async def fails() -> str:
        raise InvalidInput("no")

    async def waits() -> str:
        try:
            return str(await asyncio.Event().wait())
        finally:
            ended.append("given up")

    async def asked() -> None:
        with pytest.raises(InvalidInput, match="no"):
            await at_once([waits(), fails(), waits()])
        await asyncio.sleep(0)
        assert ended == ["given up"] * 2

    asyncio.run(asked())


def in_words(request: Request, _: int) -> Reply:
    return says("Better: A")


def test_an_endpoint_that_would_be_asked_for_text_twice_is_refused(
    folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with served(in_words) as server:
        paid = {"model": "openai:tiny", "endpoint": {"base_url": server.url}}
        both = [{**paid, "name": "one", "protocol": "notes"}, {**paid, "name": "two", "protocol": "cot"}]
        refused = pytest.raises(
            InvalidInput, match=r"panel\.1\.protocol: .* 'one' and 'two' would both be asked for text"
        )
        with refused, serving(tmp_path, folders, panel=both):
            pass
        both[1]["protocol"] = "pointwise"
        with serving(tmp_path, folders, panel=both) as (client, _):
            assert [one.protocol for one in client.critique.feedback("household").panel] == ["text", "pointwise"]


def test_a_constitution_s_wish_does_not_make_one_judge_of_two(folders: dict[str, str], tmp_path: Path):
    """Each is asked as it is configured: by the wish both would reason, or read each reply alone."""
    wishing = builtin_text("household").replace(
        "\nprinciples:", "\ndefaults: {compare: {cot: true, pointwise: true}}\nprinciples:", 1
    )
    with closing(Store.open(tmp_path)) as store:
        law = parse_constitution(wishing, "wishing.yaml")
        store.constitutions.add(law.hash, law.id, wishing, "wishing.yaml")
    assert law.defaults.compare.pointwise
    with serving(tmp_path, folders, panel=[LOGPROBS, NOTES]) as (client, _):
        members = client.critique.feedback(law.hash).panel
        assert [one.protocol for one in members] == ["logprobs", "notes"]
        assert len({one.feedback.template_hash for one in members}) == 2
