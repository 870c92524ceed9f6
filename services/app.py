"""The composition root: builds what a server needs and offers it, in one process on one address."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from charter.v1 import (
    critique_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    preference_pb2_grpc,
    reward_pb2_grpc,
    trainer_pb2_grpc,
)
from pydantic import Field

from rlhf_core.backends import FeedbackConfig, Settings
from rlhf_core.config import SANDBOX, ModelConfig
from rlhf_core.store.store import Store
from services.channel import MAX_MESSAGE_BYTES
from services.clients import CharterClient
from services.constitution_desk import ConstitutionDesk
from services.constitutions import Constitutions
from services.critique_service import CritiqueService
from services.executor import Executor
from services.model_queue import ModelQueue
from services.policy_service import PolicyService
from services.preference_service import PreferenceService
from services.reward_service import RewardService
from services.runs import RunDesk
from services.server import Server, Service
from services.trainer_service import TrainerService

if TYPE_CHECKING:
    from services.model_library import ModelLibrary
    from services.worker import Pipeline

ServiceName = Literal["policy", "critique", "reward", "preference", "trainer"]
ALL: tuple[ServiceName, ...] = get_args(ServiceName)
WITH_MODEL = frozenset(("policy", "critique", "reward"))
WITHOUT_MODEL: tuple[ServiceName, ...] = ("preference", "trainer")
RUNS = "runs"
STORE_THREADS = 4
GRACE_SECONDS = 10.0
WORKER_SECONDS = 60.0
WORKER_CALL_SECONDS = 86_400.0
"""Longest call of a run: an endpoint may be slow, and its account's limits low."""


class ServeConfig(Settings):
    """What one server process offers, and where."""

    address: str = "127.0.0.1:50051"
    """host:port (port 0 takes a free one) or unix:/path."""
    data: Path = Path("charter-data")
    """Folder of the store, its artifacts and the runs' reports."""
    model: ModelConfig = ModelConfig()
    feedback: FeedbackConfig = FeedbackConfig()
    only: tuple[ServiceName, ...] = Field(ALL, min_length=1)
    """The services to offer."""
    works: bool = True
    """Carry out runs; only where the trainer stands beside all the services with a model."""
    constitution: str = ""
    """The default one: a built-in name, or a file to follow; none means that of the base model."""
    token: str = ""
    """Bearer token that every call must carry; none means none."""
    insecure: bool = False
    """Allow an address that other machines can reach."""


class App:
    """One server process, from its parts. `start` and `stop` belong to one event loop."""

    def __init__(self, config: ServeConfig, pipeline: Pipeline | None = None):
        """`pipeline` carries out runs; none means the core's own."""
        self._config = config
        self._pipeline = pipeline
        self._stack = AsyncExitStack()
        self.address = ""

    async def start(self) -> None:
        """Bind, open the store, load the model, serve. Raises what the user got wrong, with nothing left open."""
        config = self._config
        async with AsyncExitStack() as stack:
            server = Server(config.address, config.token, config.insecure)
            stack.push_async_callback(server.close)
            self.address = server.address
            store = Store.open(config.data)
            stack.callback(store.close)
            rows, model_thread = Executor("store", STORE_THREADS), Executor("model")
            stack.callback(rows.close)
            stack.callback(model_thread.close)
            library = await self._load(store, model_thread)
            models = _queue(stack, library, model_thread) if library else None
            await server.start(_services(config, store, rows, library, models, server.draining))
            stack.push_async_callback(server.drain, GRACE_SECONDS)
            if library is not None and config.works and {"trainer", *WITH_MODEL} <= set(config.only):
                self._start_worker(stack, store, library, model_thread)
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Put the run at work back in the queue, finish the calls at work, close the store."""
        await self._stack.aclose()

    async def _load(self, store: Store, model_thread: Executor) -> ModelLibrary | None:
        if not WITH_MODEL & set(self._config.only):
            return None
        # Here, because a server without a model starts faster without torch.
        from services.app_models import load_library

        return await model_thread.run(load_library, self._config.model, store, self._config.feedback)

    def _start_worker(self, stack: AsyncExitStack, store: Store, library: ModelLibrary, model_thread: Executor) -> None:
        from services.app_models import Equipment, core_pipeline
        from services.worker import Worker

        client = CharterClient.connect(self.address, self._config.token, WORKER_CALL_SECONDS)
        stack.callback(client.close)
        equipment = Equipment(library, model_thread, client, self._config.data / RUNS)
        worker = Worker(store, self._pipeline or core_pipeline(), equipment.tools, equipment.clean_up)
        worker.start()
        stack.push_async_callback(asyncio.to_thread, worker.stop, WORKER_SECONDS)


def serve(config: ServeConfig, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain. `on_ready` gets the address once calls are answered."""
    asyncio.run(_serve(config, on_ready))


async def _serve(config: ServeConfig, on_ready: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    app = App(config)
    await app.start()
    on_ready(app.address)
    await stop.wait()
    await app.stop()


def _queue(stack: AsyncExitStack, library: ModelLibrary, model_thread: Executor) -> ModelQueue:
    critic, judge = library.backends.threads(model_thread)
    for thread in {critic, judge} - {model_thread}:
        stack.callback(thread.close)
    return ModelQueue(library, model_thread, critic, judge)


def _services(
    config: ServeConfig,
    store: Store,
    rows: Executor,
    library: ModelLibrary | None,
    models: ModelQueue | None,
    draining: asyncio.Event,
) -> list[Service]:
    """The services of `only`, in their usual order."""
    of_model = "household" if config.model.base_model == SANDBOX else "assistant"
    constitutions = Constitutions(store, config.constitution or of_model)
    create_run = RunDesk(store, constitutions, config.model, config.feedback).create
    found: dict[ServiceName, Service] = {
        "preference": Service(
            "charter.v1.PreferenceService",
            preference_pb2_grpc.add_PreferenceServiceServicer_to_server,
            PreferenceService(store, constitutions, rows),
        ),
        "trainer": Service(
            "charter.v1.TrainerService",
            trainer_pb2_grpc.add_TrainerServiceServicer_to_server,
            TrainerService(store, create_run, rows, config.data / RUNS, draining),
        ),
    }
    if library is not None and models is not None:
        info = _server_info(config, library, constitutions.default)
        found["policy"] = Service(
            "charter.v1.PolicyService",
            policy_pb2_grpc.add_PolicyServiceServicer_to_server,
            PolicyService(models, store, rows, info),
        )
        found["critique"] = Service(
            "charter.v1.CritiqueService",
            critique_pb2_grpc.add_CritiqueServiceServicer_to_server,
            CritiqueService(models, constitutions, _desk(config, store, rows, models, constitutions), rows),
        )
        found["reward"] = Service(
            "charter.v1.RewardService",
            reward_pb2_grpc.add_RewardServiceServicer_to_server,
            RewardService(models, store, rows),
        )
    return [found[name] for name in ALL if name in config.only]


def _desk(
    config: ServeConfig, store: Store, rows: Executor, models: ModelQueue, constitutions: Constitutions
) -> ConstitutionDesk:
    # With a model torch is there already.
    from services.app_models import built_in_world

    return ConstitutionDesk(models, constitutions, store, rows, built_in_world(config.model))


def _server_info(
    config: ServeConfig, library: ModelLibrary, default_constitution: str
) -> policy_pb2.GetServerInfoResponse:
    return policy_pb2.GetServerInfoResponse(
        version=version("charter-rlhf"),
        api_versions=["v1"],
        services=[f"charter.v1.{name.capitalize()}Service" for name in ALL if name in config.only],
        base_model=library.backbone.name,
        device=config.model.device,
        max_length=library.backbone.max_length,
        max_tokens=config.model.max_tokens,
        max_message_bytes=MAX_MESSAGE_BYTES,
        default_constitution=default_constitution,
    )
