"""deploy/kubernetes: its resources by their schemas, alone and put together by Kustomize, and against the code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import kubernetes_validate
import pytest
import typer
import yaml

from rlhf_core.records.base import RunState
from services.cli.main import app
from services.cli.run_config import load_config, load_server_config
from services.client.client import CharterClient
from services.server.config import ALL, WITH_MODEL, ServeConfig
from services.telemetry import metrics
from tests.processes import HERE, MAIN, entrypoint, free_ports

if TYPE_CHECKING:
    from tests.store.postgres_server import Server

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy/kubernetes"
VERSION = "1.35"
"""Of Kubernetes, whose schemas are asked; unknown keys are mistakes."""
Resource = dict[str, Any]
WRITTEN = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")
PATCHES = {"process.yaml", "with-model.yaml", "every-process.yaml", "gpu.yaml"}


def resources(path: Path) -> list[Resource]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def checked(resource: Resource) -> None:
    kubernetes_validate.validate(resource, VERSION, strict=True)


def kustomized(folder: str) -> list[Resource]:
    kubectl = shutil.which("kubectl") or shutil.which("kustomize")
    if kubectl is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    command = [kubectl, "kustomize" if kubectl.endswith("kubectl") else "build", str(FOLDER / folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return list(yaml.safe_load_all(made.stdout))


@pytest.fixture(scope="module")
def built() -> list[Resource]:
    """What Kustomize makes of the overlay, with all of the base in it."""
    return kustomized("overlays/gpu")


def of_kind(found: list[Resource], kind: str) -> dict[str, Resource]:
    return {one["metadata"]["name"]: one for one in found if one["kind"] == kind}


def container(deployment: Resource) -> Resource:
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return only


def environment(deployment: Resource) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(deployment).get("env", [])}


@pytest.mark.parametrize("path", [p for p in WRITTEN if p.name not in PATCHES], ids=lambda path: path.name)
def test_each_resource_is_one_by_its_schema(path: Path):
    for resource in resources(path):
        checked(resource)


def test_the_schema_finds_a_mistake():
    policy = resources(FOLDER / "base/policy.yaml")[0]
    policy["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        checked(policy)


def test_kustomize_takes_every_file_and_no_other():
    for kustomization in FOLDER.rglob("kustomization.yaml"):
        tree, here = yaml.safe_load(kustomization.read_text()), kustomization.parent
        named = [*tree["resources"], *(patch["path"] for patch in tree["patches"])]
        assert all((here / name).exists() for name in named)
        assert {path.name for path in here.glob("*.yaml")} - {"kustomization.yaml"} <= set(named)


def test_what_kustomize_makes_is_valid_and_holds_every_service_and_the_workers(built: list[Resource]):
    for resource in built:
        checked(resource)
        assert resource["kind"] == "Namespace" or resource["metadata"]["namespace"] == "charter"
    deployments = of_kind(built, "Deployment")
    assert set(deployments) == {*ALL, "worker"}
    assert set(of_kind(built, "Service")) == set(ALL)
    for name, service in of_kind(built, "Service").items():
        labels = deployments[name]["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()


def test_processes_run_as_nobody_special_and_say_when_they_serve(built: list[Resource]):
    grace = load_server_config(str(ROOT / "deploy/server.yaml"), {})
    for name, deployment in of_kind(built, "Deployment").items():
        pod, one = deployment["spec"]["template"]["spec"], container(deployment)
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
        assert one["securityContext"]["readOnlyRootFilesystem"] and one["securityContext"]["capabilities"] == {
            "drop": ["ALL"]
        }
        assert not one["securityContext"]["allowPrivilegeEscalation"]
        assert pod["terminationGracePeriodSeconds"] > grace.pause_seconds + grace.grace_seconds
        assert one["readinessProbe"]["grpc"] == one["startupProbe"]["grpc"] == {"port": 50051}
        assert one["livenessProbe"]["tcpSocket"] == {"port": "grpc"}
        # Half an hour for a model, two minutes without one.
        startup = one["startupProbe"]["periodSeconds"] * one["startupProbe"]["failureThreshold"]
        assert startup == (1800 if name in (*WITH_MODEL, "worker") else 120)
        assert {"data", "tmp"} <= {volume["name"] for volume in pod["volumes"]}


def test_every_process_may_be_moved_and_one_at_a_time(built: list[Resource]):
    budgets = of_kind(built, "PodDisruptionBudget")
    assert set(budgets) == set(of_kind(built, "Deployment"))
    assert all(budget["spec"]["maxUnavailable"] == 1 for budget in budgets.values())


def test_queues_scale_the_processes_by_metrics_that_there_are(built: list[Resource]):
    known = {family.name for family in metrics.REGISTRY.collect()} | {"charter_runs"}
    scaled = of_kind(built, "HorizontalPodAutoscaler")
    assert set(scaled) == {*WITH_MODEL, "worker"}
    deployments = of_kind(built, "Deployment")
    for name, scaler in scaled.items():
        assert scaler["spec"]["scaleTargetRef"]["name"] == name
        # One that says how many there are would undo the scaling each time that it is applied.
        assert "replicas" not in deployments[name]["spec"]
        (metric,) = scaler["spec"]["metrics"]
        (source,) = [value for key, value in metric.items() if key != "type"]
        assert source["metric"]["name"] in known


def test_a_worker_with_a_run_at_work_counts_so_that_none_is_taken_away_for_want_of_waiting_ones(built: list[Resource]):
    (metric,) = of_kind(built, "HorizontalPodAutoscaler")["worker"]["spec"]["metrics"]
    (states,) = metric["external"]["metric"]["selector"]["matchExpressions"]
    assert states == {"key": "state", "operator": "In", "values": ["QUEUED", "RUNNING"]}
    assert set(states["values"]) <= set(get_args(RunState))
    # Of several states the adapter's rule must make a sum, of the processes that all say the same none.
    assert "sum(max(<<.Series>>{<<.LabelMatchers>>}) by (state))" in (ROOT / "docs/kubernetes.md").read_text()


def test_the_command_and_environment_of_every_process_are_ones_of_ours(built: list[Resource]):
    verbs: Any = typer.main.get_command(app)
    command = verbs.commands["serve"]
    for name, deployment in of_kind(built, "Deployment").items():
        words = [*entrypoint(), *container(deployment)["args"]]
        assert words[:2] == ["charter", "serve"]
        given = command.make_context("serve", words[2:]).params
        assert given["only"] in ALL
        told = environment(deployment)
        ours = {key: value for key, value in told.items() if key.startswith("CHARTER_SERVER__")}
        server = load_server_config(str(ROOT / "deploy/server.yaml"), ours)
        run = load_config(str(ROOT / "deploy/run.yaml"), environ=told)
        whole = ServeConfig.model_validate(
            {**server.model_dump(), "only": (given["only"],), "model": run.model, "feedback": run.feedback}
        )
        assert whole.carries_out_runs == (name == "worker"), name
        assert server.address == "0.0.0.0:50051" and server.metrics == "0.0.0.0:9464"


def test_who_takes_a_run_in_knows_the_model_that_it_will_be_carried_out_with(built: list[Resource]):
    models = {
        name: load_config(str(ROOT / "deploy/run.yaml"), environ=environment(deployment)).model
        for name, deployment in of_kind(built, "Deployment").items()
    }
    assert set(models.values()) == {models["worker"]} and models["worker"].device == "cuda"
    loaded = {name for name, one in of_kind(built, "Deployment").items() if "nvidia.com/gpu" in str(one)}
    assert loaded == {*WITH_MODEL, "worker"}


def test_a_worker_asks_the_services_by_their_names(built: list[Resource]):
    told = environment(of_kind(built, "Deployment")["worker"])
    for name in WITH_MODEL:
        address = told[f"CHARTER_SERVER__ENDPOINTS__{name.upper()}"]
        service = of_kind(built, "Service")[name]["spec"]
        assert address == f"{name}:{service['ports'][0]['port']}" and service["clusterIP"] == "None"


def test_secrets_and_claims_that_are_named_are_there(built: list[Resource]):
    secrets, claims = of_kind(built, "Secret"), of_kind(built, "PersistentVolumeClaim")
    for deployment in of_kind(built, "Deployment").values():
        (source,) = container(deployment)["envFrom"]
        assert source["secretRef"]["name"] in secrets
        for volume in deployment["spec"]["template"]["spec"]["volumes"]:
            assert "persistentVolumeClaim" not in volume or volume["persistentVolumeClaim"]["claimName"] in claims


def test_the_base_leaves_the_secret_to_an_overlay_and_wants_no_gpu():
    base = kustomized("base")
    assert of_kind(base, "Secret") == {}
    assert {one["envFrom"][0]["secretRef"]["name"] for one in map(container, of_kind(base, "Deployment").values())} == {
        "charter"
    }
    assert "nvidia" not in str(base)


def test_nobody_reaches_a_process_but_by_a_policy_that_names_it(built: list[Resource]):
    policies = of_kind(built, "NetworkPolicy")
    assert policies["nobody"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    named = [value for one in ("models", "front") for value in _values(policies[one])]
    assert sorted(named) == sorted(ALL)
    ports = {
        port["port"] for one in policies.values() for rule in one["spec"].get("ingress", []) for port in rule["ports"]
    }
    assert ports == {"grpc", "metrics"}


def _values(policy: Resource) -> Iterator[str]:
    for expression in policy["spec"]["podSelector"]["matchExpressions"]:
        yield from expression["values"]


def test_no_secret_is_in_the_files_but_placeholders():
    for line in (FOLDER / "overlays/gpu/secrets.env").read_text().splitlines():
        key, _, value = line.partition("=")
        assert key.startswith("#") or "change-me" in value or "example" in value or value.startswith("s3://charter"), (
            key
        )


@pytest.mark.slow
def test_its_commands_serve_as_plain_processes_on_a_database_and_drain(postgres: Server, tmp_path: Path):
    made = of_kind(kustomized("base"), "Deployment")
    names = ("trainer", "worker")
    ports = free_ports(2 * len(names))
    secret = {"CHARTER_STORE": postgres.empty(), "CHARTER_TOKEN": "a-secret-of-the-cluster"}
    running = {}
    for name, port, page in zip(names, ports, ports[2:], strict=False):
        places = {
            "0.0.0.0:50051": f"127.0.0.1:{port}",
            "0.0.0.0:9464": f"127.0.0.1:{page}",
            "/data": str(tmp_path / name),
        }
        files = {"/etc/charter/server.yaml": "deploy/server.yaml", "/etc/charter/run.yaml": "deploy/run.yaml"}
        words = [files.get(word, word) for word in [*entrypoint(), *container(made[name])["args"]]]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("CHARTER")}
        told = {key: places.get(value, value) for key, value in environment(made[name]).items()}
        command = [sys.executable, "-c", MAIN, *words[1:]]
        running[name] = subprocess.Popen(command, env=inherited | told | secret | HERE, cwd=ROOT)
    try:
        for port in ports[:2]:
            health = [sys.executable, "-c", MAIN, "health", "--address", f"127.0.0.1:{port}"]
            deadline = time.monotonic() + 120
            while subprocess.run(health, cwd=ROOT, capture_output=True, check=False).returncode:
                assert time.monotonic() < deadline and all(one.poll() is None for one in running.values())
        with CharterClient.connect(f"127.0.0.1:{ports[0]}", "a-secret-of-the-cluster") as client:
            assert client.trainer.list_runs().runs == []
        for one in running.values():
            one.send_signal(signal.SIGTERM)
        assert [one.wait(90) for one in running.values()] == [0, 0]
    finally:
        for one in running.values():
            one.kill()
