"""What is asked of a Ray cluster, and what is refused before anything starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import Conflict, InvalidInput, Unavailable
from services.cli.main import main
from services.cluster.config import Cluster, Reserved, check_open, serve_config
from services.cluster.dashboard import Node, RayDashboard, Serving
from services.cluster.installation import check_fits, check_proxies, check_server, in_short, others, waiting
from services.server.config import ServerConfig

TWO = [Node("a", "10.0.0.1", {"CPU": 4.0, "GPU": 1.0}), Node("b", "10.0.0.2", {"CPU": 4.0})]
PENDING = (
    "Deployment 'policy' in application 'charter' has 1 replicas that have taken more than 30s to be scheduled. This "
    'may be due to waiting for the cluster to auto-scale. Resources required for each replica: {"CPU": 2}, total '
    'resources available: {"CPU": 1.0}. Use `ray status` for more details.'
)


class Said(NamedTuple):
    """What a command line ends with."""

    code: int
    out: str
    err: str


def charter(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return Said(int(ended.value.code or 0), *capsys.readouterr())


def cluster(**settings: Any) -> Cluster:
    return Cluster(**{"model": ModelConfig(threads=2), **settings})


def test_each_role_is_the_server_of_its_service_and_workers_alone_carry_out_runs():
    whole = cluster(token="secret")
    policy, worker, front = (whole.process(role, "unix:/s", "unix:/r") for role in ("policy", "worker", "front"))
    assert policy.only == ("policy",) and not policy.carries_out_runs and policy.models == ("policy",)
    assert worker.only == ("trainer",) and worker.carries_out_runs and worker.endpoints.critique == "unix:/r"
    assert front.only == ("preference", "trainer") and not front.carries_out_runs and front.models == ()
    assert {each.token for each in (policy, worker, front)} == {"secret"}


def test_a_worker_needs_room_on_one_node_for_the_learners_of_its_run_too():
    # policy, critique, reward and the front; two workers with two learners of one thread each.
    assert cluster(workers=2, learners=2).together == {Reserved(2, 0): 3, Reserved(1, 0): 1, Reserved(4, 0): 2}
    assert cluster(learners=1).together == {Reserved(2, 0): 4, Reserved(1, 0): 1}
    gpus = cluster(model=ModelConfig(threads=2, device="cuda"), learners=2, cpus=0.5)
    assert gpus.together == {Reserved(0.5, 1): 3, Reserved(0.5, 0): 1, Reserved(1.5, 3): 1}


def test_what_fits_exactly_fits_and_more_is_refused_with_what_is_asked_and_what_is_there():
    one = cluster(cpus=1.6)
    check_fits(one, TWO)
    with pytest.raises(InvalidInput, match="together ask for 9 CPU, and the cluster has 8 CPU"):
        check_fits(cluster(), TWO)
    with pytest.raises(InvalidInput, match="asks for 7 CPU, and a has 4 CPU; b has 4 CPU"):
        check_fits(cluster(learners=4, model=ModelConfig(threads=3)), TWO)
    with pytest.raises(InvalidInput, match=r"asks for 0\.1 CPU, 1 GPU, and b has 4 CPU, 0 GPU"):
        check_fits(cluster(cpus=0.1, model=ModelConfig(device="cuda")), TWO[1:])


def test_several_machines_need_a_store_and_artifacts_that_all_of_them_reach():
    check_server(cluster(), TWO[:1])
    with pytest.raises(InvalidInput, match=r"--store: the cluster has 2 machines.*allowed: postgresql"):
        check_server(cluster(), TWO)
    with pytest.raises(InvalidInput, match="--artifacts: the cluster has 2 machines"):
        check_server(cluster(server=ServerConfig(store="postgresql://db/x")), TWO)
    check_server(cluster(server=ServerConfig(store="postgresql://db/x", artifacts="s3://b/c")), TWO)
    with pytest.raises(InvalidInput, match="'mysql://db/x' is no database"):
        check_server(cluster(server=ServerConfig(store="mysql://db/x")), TWO[:1])


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("metrics", {"metrics": "127.0.0.1:9464"}),
        ("http.address", {"http": {"address": "127.0.0.1:8000"}}),
        ("console.address", {"console": {"address": "127.0.0.1:8060"}}),
        ("tls.cert", {"tls": {"cert": "cert.pem", "key": "key.pem"}}),
    ],
)
def test_an_address_of_one_process_is_refused_where_many_share_a_node(field: str, settings: dict[str, Any]):
    with pytest.raises(InvalidInput, match=rf"^{field}: .* is for one process.*; allowed with --ray: null"):
        check_server(cluster(server=ServerConfig.model_validate(settings)), TWO[:1])


def test_secrets_are_sent_and_never_printed(capsys: pytest.CaptureFixture[str]):
    secret = cluster(server=ServerConfig(store="postgresql://u:word@db/x", insecure=True), token="secret", workers=3)
    sent, shown = serve_config(secret), serve_config(secret, secrets=False)
    (args,) = [one["args"] for one in sent["applications"]]
    assert Cluster.model_validate(args) == secret
    assert "word" not in str(shown) and "secret" not in str(shown)
    store, token = ["--store", "postgresql://u:word@db/x"], ["--token", "secret"]
    printed = charter(capsys, "cluster", "up", "--dry-run", "--workers", "3", "-s", "model.threads=3", *store, *token)
    (shown_args,) = [one["args"] for one in yaml.safe_load(printed.out)["applications"]]
    assert shown_args == {"server": {"data": "/data"}, "model": {"threads": 3}, "workers": 3}


def test_an_address_that_is_none_and_a_package_that_is_missing_are_told(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InvalidInput, match="'ray://head:10001' is no dashboard's address; allowed: http://HOST:8265"):
        RayDashboard("ray://head:10001")
    monkeypatch.setitem(sys.modules, "ray.dashboard.modules.serve.sdk", None)
    with pytest.raises(InvalidInput, match=r"needs a package.*pip install -e '.\[ray\]'"):
        RayDashboard("http://127.0.0.1:1")


def test_a_cluster_that_is_none_is_told():
    pytest.importorskip("ray")
    with pytest.raises(Unavailable, match=r"no Ray cluster answers at http://127\.0\.0\.1:1"):
        RayDashboard("http://127.0.0.1:1")


def test_an_installation_that_anybody_may_use_has_to_be_asked_for(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(InvalidInput, match="give --token, or --insecure"):
        check_open(cluster())
    check_open(cluster(token="secret"))
    check_open(cluster(server=ServerConfig(insecure=True)))
    nowhere = charter(capsys, "cluster", "down")
    assert nowhere.code == 2 and "http://HOST:8265" in nowhere.err


def test_a_node_knows_the_secrets_and_starts_nothing_that_anybody_may_use():
    whole = cluster().on_node({"CHARTER_TOKEN": "secret", "CHARTER_STORE": "postgresql://db/x"})
    assert (whole.token, whole.server.store) == ("secret", "postgresql://db/x") and whole.server.data.is_absolute()
    assert cluster(token="own").on_node({"CHARTER_TOKEN": "secret"}).token == "own"
    with pytest.raises(InvalidInput, match="every node answers whoever reaches its port"):
        cluster().on_node({})
    assert cluster(server=ServerConfig(insecure=True)).on_node({}).token == ""


def test_a_message_of_serve_is_told_in_a_line():
    assert in_short(PENDING) == "waits for room; each asks for 2 CPU, free is 1 CPU"
    raised = "RuntimeError: Traceback:\n  File 'x'\nrlhf_core.errors.Unavailable: no store:\n\tis it up?\n"
    assert in_short(f"A replica failed to start. Error:\n  File 'y'\n{raised}\n") == (
        "rlhf_core.errors.Unavailable: no store: is it up?"
    )
    assert in_short("Starting\n") == "Starting"
    assert in_short("") == ""


def serving(**settings: Any) -> Serving:
    ours = {"deployments": {"policy": {"name": "policy", "status": "UPDATING", "message": PENDING}}}
    deployed = {"name": "other", "import_path": "other:app"}
    applications = {
        "charter": {"status": "DEPLOYING", "message": "", "deployed_app_config": {"name": "charter"}, **ours},
        "other": {"status": "RUNNING", "deployed_app_config": deployed},
        "by hand": {"status": "RUNNING", "deployed_app_config": None},
    }
    return Serving.model_validate({"proxy_location": "EveryNode", "applications": applications, **settings})


def test_what_others_have_deployed_stays_and_what_waits_says_why():
    assert others(serving()) == [{"name": "other", "import_path": "other:app"}]
    application = serving().applications["charter"]
    assert waiting(application) == {"policy": "waits for room; each asks for 2 CPU, free is 1 CPU"}


def test_a_serve_that_runs_without_our_services_cannot_take_them_in():
    options = serve_config(cluster())["grpc_options"]
    check_proxies(options, Serving())
    check_proxies(options, serving(grpc_options=options))
    with pytest.raises(Conflict, match="gRPC on port 9000 and without our services"):
        check_proxies(options, serving(grpc_options={**options, "grpc_servicer_functions": []}))
    with pytest.raises(Conflict, match="gRPC on port 9001 and our services"):
        check_proxies(options, serving(grpc_options={**options, "port": 9001}))


def test_ray_is_imported_where_it_is_used_and_nowhere_else():
    root = Path(__file__).parents[2]
    at_the_top = {
        str(path.relative_to(root))
        for package in ("rlhf_core", "services", "proto/charter")
        for path in (root / package).rglob("*.py")
        for line in path.read_text().splitlines()
        if line.startswith(("import ray", "from ray"))
    }
    assert at_the_top == {"services/cluster/learners.py", "services/cluster/processes.py"}
