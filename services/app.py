"""The composition root: builds what a server needs and offers it, in one process on one address."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from charter.v1 import (
    annotation_pb2_grpc,
    assessment_pb2_grpc,
    critique_pb2_grpc,
    dataset_pb2_grpc,
    exploration_pb2_grpc,
    policy_pb2_grpc,
    preference_pb2_grpc,
    reward_pb2_grpc,
    server_pb2_grpc,
    study_pb2_grpc,
    trainer_pb2_grpc,
)

from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.model_defaults import constitution_for
from rlhf_core.config.run import RunConfig
from rlhf_core.datasets.uploads import Uploads
from rlhf_core.errors import InvalidInput
from rlhf_core.exports.policy_folder import model_of, write_policy
from rlhf_core.models.kernels.malloc import give_back
from rlhf_core.records.base import RunState
from rlhf_core.records.models import PolicyVersion
from rlhf_core.records.runs import Run
from rlhf_core.store.databases.place import Place
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.rpc.constitution_edits import ConstitutionDesk
from services.rpc.constitutions import Constitutions
from services.rpc.critique import CritiqueService
from services.rpc.dataset import DatasetService
from services.rpc.dataset_uploads import UploadDesk
from services.rpc.exploration import ExplorationService
from services.rpc.labelling.annotation import AnnotationService
from services.rpc.labelling.assessment import AssessmentService
from services.rpc.labelling.preference import PreferenceService
from services.rpc.policy import PolicyService
from services.rpc.policy_files import PolicyFiles, Write
from services.rpc.policy_lookup import PolicyLookup, add_policy_lookup
from services.rpc.reward import RewardService
from services.rpc.run_changes import RunVerbs
from services.rpc.run_requests import RunDesk
from services.rpc.server import Loaded, ServerService, policy_info, server_info
from services.rpc.study import StudyService
from services.rpc.trainer import TrainerService
from services.security.tls import SCHEME
from services.security.tokens import Tokens, for_server
from services.server.config import (
    ALL,
    ANNOTATION,
    ASSESSMENTS,
    DATASETS,
    EXPLORATION,
    POLICY,
    SERVER,
    STUDIES,
    WITH_MODEL,
    ServeConfig,
    ServiceName,
    offered,
)
from services.server.health import MODEL
from services.server.server import Server, Service
from services.serving.executor import Executor
from services.serving.generation_queue import GenerationQueue
from services.serving.model_queue import ModelQueue

if TYPE_CHECKING:
    from rlhf_core.training.learners.launch import Learning
    from services.console.server import Console
    from services.http.calls import Endpoint
    from services.http.listener import Listener
    from services.http.server import HttpServer
    from services.serving.loaded_models import ModelLibrary
    from services.worker import Pipeline

RUNS, UPLOADS = "runs", "uploads"
"""Folders of the data folder."""
RUNS_SHOWN = 100
STORE_THREADS = 4
WORKER_CALL_SECONDS = 86_400.0
"""Longest call of a run: an endpoint may be slow, and its account's limits low."""


class App:
    """One server process, from its parts. `start` and `stop` belong to one event loop."""

    def __init__(self, config: ServeConfig, pipeline: Pipeline | None = None, learning: Learning | None = None):
        """`pipeline` carries out runs, and `learning` starts their learner processes; none means the core's own."""
        self._config = config
        self._learning = learning
        self._pipeline = pipeline
        self._stack = AsyncExitStack()
        self._store: Store | None = None
        self.address = ""
        self.http_address = ""
        """Of the HTTP edge; empty where there is none."""
        self.console_address = ""
        """Of the console; empty where there is none."""

    async def start(self) -> None:
        """Bind, open the store, load the model, serve. Raises what the user got wrong, with nothing left open."""
        config = self._config
        async with AsyncExitStack() as stack:
            tokens, own = for_server(config.tokens, config.token)
            server = Server(
                config.address, tokens, config.tls, config.limits, insecure=config.insecure, reflects=config.reflects
            )
            stack.push_async_callback(server.close)
            self.address = f"{SCHEME}{server.address}" if config.tls.cert else server.address
            http = self._http(stack, tokens, server)
            console = self._console(stack, tokens, server)
            names = [SERVER, *offered(config.only)]
            await server.open(names, [f"{MODEL}{name}" for name in config.models])
            if console is not None:
                console.listener.open()
            store = self._store = Store.open(config.data, Place(database=config.store, artifacts=config.artifacts))
            stack.callback(store.close)
            store.runs.settle()
            io, model_thread = Executor("store", STORE_THREADS), Executor("model", at_rest=give_back)
            stack.callback(io.close)
            stack.callback(model_thread.close)
            library = await self._load(store, model_thread)
            models = _queue(stack, library, model_thread, config.limits.waiting_rows) if library else None
            generation = _generation(library, model_thread, config.limits.waiting_rows) if library else None
            services = _services(config, store, io, library, models, generation, server.draining)
            await server.offer(services)
            if http is not None:
                http.offer(await self._endpoints(server, tokens, services, library, model_thread), server.draining)
            listeners = [each.listener for each in (http, console) if each]
            stack.push_async_callback(_drain, server, listeners, config.grace_seconds)
            if library is not None and config.carries_out_runs:
                itself = CharterClient.connect(server.inner, own, WORKER_CALL_SECONDS, config.patience_seconds)
                stack.callback(itself.close)
                self._start_worker(stack, store, io, library, model_thread, itself)
            stack.push_async_callback(server.leave)
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Leave the balancers, put the run at work back in the queue, finish the calls at work, close the store."""
        await self._stack.aclose()

    def runs_now(self) -> tuple[dict[RunState, int], list[Run]]:
        """Count the runs of the store in each state, and those that are being carried out."""
        store = self._store
        return (store.runs.counts(), store.runs.page(RUNS_SHOWN, states=("RUNNING",))[0]) if store else ({}, [])

    def _http(self, stack: AsyncExitStack, tokens: Tokens, server: Server) -> HttpServer | None:
        """The HTTP edge on its address, where one is asked for; it says that the model is loading."""
        config = self._config
        if config.http.address is None:
            return None
        try:  # its packages are optional
            from services.http.server import HttpServer
        except ImportError as error:
            hint = "pip install -e '.[http]' in the project's folder"
            raise InvalidInput(f"http.address: needs packages: {error}", "http.address", hint=hint) from None
        http = HttpServer(config.http.address, config.tls, config.limits.calls, _may_be_open(config, tokens))
        stack.push_async_callback(http.listener.close)
        http.listener.open()
        self.http_address = http.listener.address
        return http

    def _console(self, stack: AsyncExitStack, tokens: Tokens, server: Server) -> Console | None:
        """The console on its address, where one is asked for; it calls the services as any client does."""
        config = self._config
        if config.console.address is None:
            return None
        try:  # its packages are optional
            from services.console.server import Console
        except ImportError as error:
            hint = "pip install -e '.[console]' in the project's folder"
            raise InvalidInput(f"console.address: needs packages: {error}", "console.address", hint=hint) from None
        may_be_open = _may_be_open(config, tokens)
        console = Console(config.console, config.tls, config.limits, may_be_open, server.inner)
        stack.push_async_callback(console.close)
        self.console_address = console.listener.address
        return console

    async def _endpoints(
        self,
        server: Server,
        tokens: Tokens,
        services: Sequence[Service],
        library: ModelLibrary | None,
        model_thread: Executor,
    ) -> list[Endpoint]:
        from services.http.calls import Gate
        from services.http.routes import endpoints, offered_by

        if library is None:
            return []
        gate = Gate(tokens, self._config.limits, server.turnstile)
        offered = await model_thread.run(offered_by, services, library.backbone, model_thread)
        return endpoints(gate, offered, self._config.http.run)

    async def _load(self, store: Store, model_thread: Executor) -> ModelLibrary | None:
        config = self._config
        if not config.models:
            return None
        # Here, because a server without a model starts faster without torch.
        from services.run_toolbox import load_library

        # A critic and a judge of their own are loaded only where they are asked.
        feedback = config.feedback if "critique" in config.only else FeedbackConfig()
        return await model_thread.run(load_library, config.model, store, feedback, model_thread.give_way)

    def _start_worker(
        self,
        stack: AsyncExitStack,
        store: Store,
        io: Executor,
        library: ModelLibrary,
        model_thread: Executor,
        itself: CharterClient,
    ) -> None:
        from rlhf_core.training.learners.launch import learners
        from services.run_toolbox import Asked, Equipment, core_pipeline
        from services.worker import Worker

        config = self._config
        clients = {"": itself}
        for address in {config.endpoints.of(name) for name in WITH_MODEL} - {""}:
            clients[address] = CharterClient.connect(
                address, config.token, WORKER_CALL_SECONDS, config.patience_seconds
            )
            stack.callback(clients[address].close)
        policy, critique, reward = (clients[config.endpoints.of(name)] for name in WITH_MODEL)
        # Calls go before feedback, and both before training.
        training = model_thread.behind().behind()
        equipment = Equipment(
            library, training, Asked(policy, critique, reward), config.data / RUNS, self._learning or learners
        )
        worker = Worker(
            store, self._pipeline or core_pipeline(), equipment.tools, equipment.clean_up, config.data / RUNS
        )
        worker.start()
        # Not on asyncio's own threads: streams of callers may hold all of them for as long as they last.
        stack.push_async_callback(io.run, worker.stop, config.pause_seconds)


def _may_be_open(config: ServeConfig, tokens: Tokens) -> bool:
    """Whether other machines may reach an HTTP address."""
    return config.insecure or (config.tls.cert is not None and bool(tokens))


async def _drain(server: Server, listeners: Sequence[Listener], grace_seconds: float) -> None:
    """All at once, as they share the time that there is."""
    await asyncio.gather(server.drain(grace_seconds), *(listener.drain(grace_seconds) for listener in listeners))


def _queue(stack: AsyncExitStack, library: ModelLibrary, model_thread: Executor, most_waiting: int) -> ModelQueue:
    backends, threads = library.backends, library.backends.threads()
    for thread in threads.values():
        stack.callback(thread.close)
    critic, judge, *others = (
        threads.get(id(model))
        for model in (backends.critic, backends.judge, *(one.model for one in backends.panel[1:]))
    )
    return ModelQueue(library, model_thread, critic, judge, most_waiting, others)


def _generation(library: ModelLibrary, model_thread: Executor, most_waiting: int) -> GenerationQueue:
    # With a model torch is there already.
    from rlhf_core.inference.engine import Engine

    engine = Engine(library.engine, library.backbone, library, max_positions=library.backbone.most_positions)
    return GenerationQueue(engine, model_thread, most_waiting)


def _services(
    config: ServeConfig,
    store: Store,
    io: Executor,
    library: ModelLibrary | None,
    models: ModelQueue | None,
    generation: GenerationQueue | None,
    draining: asyncio.Event,
) -> list[Service]:
    """ServerService, and the services of `only` in their usual order."""
    constitutions = Constitutions(store, config.constitution or constitution_for(config.model.base_model))
    roots = None if config.roots is None else (*config.roots, config.data)
    desk = RunDesk(store, constitutions, config.model, config.feedback, roots)
    verbs = RunVerbs(store, desk, lambda: _carried_out(config, store))
    loaded = _loaded(library) if library else None
    info = server_info(config, loaded, constitutions.default)
    services: dict[ServiceName, Service] = {
        "preference": Service(
            "charter.v1.PreferenceService",
            preference_pb2_grpc.add_PreferenceServiceServicer_to_server,
            PreferenceService(store, constitutions, io, config.labelling),
        ),
        "trainer": Service(
            "charter.v1.TrainerService",
            trainer_pb2_grpc.add_TrainerServiceServicer_to_server,
            TrainerService(store, verbs, io, config.data / RUNS, draining),
        ),
    }
    if loaded is not None and models is not None and generation is not None:
        files = PolicyFiles(store, _policy_writer(store, config.data / RUNS), io)
        policy = PolicyService(generation, store, io, policy_info(info, loaded), files)
        add_policy = policy_pb2_grpc.add_PolicyServiceServicer_to_server
        services["policy"] = Service(POLICY, add_policy, policy)
        services["critique"] = Service(
            "charter.v1.CritiqueService",
            critique_pb2_grpc.add_CritiqueServiceServicer_to_server,
            CritiqueService(models, constitutions, _desk(config, store, io, models, constitutions), io),
        )
        add_reward = reward_pb2_grpc.add_RewardServiceServicer_to_server
        services["reward"] = Service("charter.v1.RewardService", add_reward, RewardService(models, store, io))
    itself = ServerService(info, lambda: _carried_out(config, store), io)
    always = Service(SERVER, server_pb2_grpc.add_ServerServiceServicer_to_server, itself)
    named = [services[name] for name in ALL if name in config.only]
    return [always, *named, *_beside(config, store, constitutions, desk, io)]


def _beside(
    config: ServeConfig, store: Store, constitutions: Constitutions, desk: RunDesk, io: Executor
) -> list[Service]:
    """The services that come with others of `only`."""
    add = assessment_pb2_grpc.add_AssessmentServiceServicer_to_server
    assessments = Service(ASSESSMENTS, add, AssessmentService(store, constitutions, io))
    add = annotation_pb2_grpc.add_AnnotationServiceServicer_to_server
    annotation = Service(ANNOTATION, add, AnnotationService(store, constitutions, io, config.labelling))
    with_runs = [*_with_runs(config, store, io), _studies(config, store, desk, io)] if "trainer" in config.only else []
    return [*with_runs, *([assessments, annotation] if "preference" in config.only else [])]


def _with_runs(config: ServeConfig, store: Store, io: Executor) -> list[Service]:
    uploads = UploadDesk(store, Uploads(config.data / UPLOADS), config.limits.dataset_bytes)
    datasets, exploration = DatasetService(store, uploads, io), ExplorationService(store, io)
    return [
        Service(DATASETS, dataset_pb2_grpc.add_DatasetServiceServicer_to_server, datasets),
        Service(EXPLORATION, exploration_pb2_grpc.add_ExplorationServiceServicer_to_server, exploration),
        # Not named in `offered`: who looks for the service wants a policy to speak.
        *([] if "policy" in config.only else [Service(POLICY, add_policy_lookup, PolicyLookup(store, io))]),
    ]


def _studies(config: ServeConfig, store: Store, desk: RunDesk, io: Executor) -> Service:
    studies = StudyService(store, desk, io, lambda: _carried_out(config, store))
    return Service(STUDIES, study_pb2_grpc.add_StudyServiceServicer_to_server, studies)


def _policy_writer(store: Store, runs_folder: Path) -> Write:
    # With a model torch is there already.
    from services.run_toolbox import base_folder

    def write(version: PolicyVersion, folder: Path, merge: bool) -> None:
        write_policy(store, runs_folder, version, base_folder(model_of(store, version)), folder, merge)

    return write


def _carried_out(config: ServeConfig, store: Store) -> bool:
    """Whether this process, or another one on the same store, takes runs from the queue."""
    return config.carries_out_runs or bool(store.workers.signed_in())


def _loaded(library: ModelLibrary) -> Loaded:
    backends = library.backends
    judges = [one.model.name for one in backends.panel] or [backends.judge.name]
    return Loaded(library.backbone.name, backends.critic.name, judges, library.backbone.max_length)


def _desk(
    config: ServeConfig, store: Store, io: Executor, models: ModelQueue, constitutions: Constitutions
) -> ConstitutionDesk:
    # With a model torch is there already.
    from services.run_toolbox import built_in_world

    # As a run of this model makes them where nothing else is asked for.
    labels = RunConfig.model_validate({"model": config.model}).label
    return ConstitutionDesk(models, constitutions, store, io, built_in_world(config.model), labels)
