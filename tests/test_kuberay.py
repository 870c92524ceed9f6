"""deploy/kuberay: its resources by KubeRay's own schemas, their pods by those of Kubernetes, and against the code.

`kuberay_schemas` has the schemas of KubeRay 1.7.0 without their texts, and without those of pods.
"""

from __future__ import annotations

import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from services.cli.main import app
from services.cluster.config import Cluster, serve_config
from services.cluster.dashboard import Node
from services.cluster.installation import check_fits
from tests.test_kubernetes import FOLDER as KUBERNETES
from tests.test_kubernetes import VERSION, resources

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy/kuberay"
SCHEMAS = Path(__file__).parent / "kuberay_schemas"
KINDS = {"RayCluster": "ray-cluster.yaml", "RayJob": "ray-job.yaml", "RayService": "ray-service.yaml"}


def strict(schema: Any) -> Any:
    """The same, to which an unknown key is a mistake: Kubernetes would drop it without a word."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    closed = isinstance(found.get("properties"), dict) and not found.get("x-kubernetes-preserve-unknown-fields")
    return found | ({"additionalProperties": False} if closed else {})


@cache
def validator(kind: str) -> jsonschema.Draft202012Validator:
    cluster = strict(json.loads((SCHEMAS / "RayCluster.json").read_text()))
    whole = strict(json.loads((SCHEMAS / f"{kind}.json").read_text()))
    # Names and labels of every resource are Kubernetes' own.
    whole["properties"]["metadata"] = {"type": "object"}
    there = Resource.from_contents(cluster, default_specification=DRAFT202012)
    return jsonschema.Draft202012Validator(whole, registry=Registry().with_resource("RayCluster", there))


@cache
def made(kind: str) -> Any:
    (only,) = resources(FOLDER / KINDS[kind])
    return only


def cluster_of(kind: str) -> Any:
    spec = made(kind)["spec"]
    return spec if kind == "RayCluster" else spec["rayClusterConfig"]


def groups(cluster: Any) -> list[Any]:
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def container(group: Any) -> Any:
    (only,) = group["template"]["spec"]["containers"]
    return only


@pytest.mark.parametrize("kind", KINDS)
def test_each_resource_is_one_by_its_schema(kind: str):
    assert made(kind)["kind"] == kind and made(kind)["apiVersion"] == "ray.io/v1"
    validator(kind).validate(made(kind))


@pytest.mark.parametrize(
    ("kind", "path"),
    [("RayCluster", ("headGroupSpec", "rayStartParam")), ("RayService", ("rayClusterConfig", "headGroupSpecs"))],
)
def test_the_schema_finds_a_mistake(kind: str, path: tuple[str, ...]):
    wrong = json.loads(json.dumps(made(kind)))
    place = wrong["spec"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = {}
    with pytest.raises(jsonschema.ValidationError, match=path[-1]):
        validator(kind).validate(wrong)


@pytest.mark.parametrize("kind", ["RayCluster", "RayService"])
def test_each_pod_is_one_by_the_schema_of_kubernetes_and_runs_as_nobody_special(kind: str):
    for group in groups(cluster_of(kind)):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **group["template"]}
        kubernetes_validate.validate(pod, VERSION, strict=True)
        assert pod["spec"]["securityContext"]["runAsNonRoot"] and not pod["spec"]["automountServiceAccountToken"]
        inside = container(group)["securityContext"]
        assert inside["readOnlyRootFilesystem"] and inside["capabilities"] == {"drop": ["ALL"]}
        assert container(group)["envFrom"] == [{"secretRef": {"name": "charter"}}]
        mounted = {mount["mountPath"] for mount in container(group)["volumeMounts"]}
        assert mounted == {"/data", "/data/runs", "/data/uploads", "/tmp"}


def test_both_clusters_are_the_same_but_for_the_job_that_may_reach_the_one_and_the_probe_of_the_other():
    alone, served = (json.loads(json.dumps(cluster_of(kind))) for kind in ("RayCluster", "RayService"))
    assert alone["networkPolicy"]["head"]["ingressRules"].pop()["from"][0]["podSelector"]["matchLabels"] == {
        "ray.io/originated-from-cr-name": made("RayJob")["metadata"]["name"],
        "ray.io/originated-from-crd": "RayJob",
    }
    probe = container(served["workerGroupSpecs"][0]).pop("readinessProbe")
    assert alone == served
    assert probe["grpc"]["port"] == Cluster().port


def test_clients_reach_the_port_of_serve_and_the_dashboard_asks_for_a_token():
    for cluster in map(cluster_of, ("RayCluster", "RayService")):
        assert cluster["authOptions"] == {"mode": "token"}
        for group in groups(cluster):
            ports = {port["name"]: port["containerPort"] for port in container(group)["ports"]}
            assert ports["serve-grpc"] == Cluster().port
        rules = cluster["networkPolicy"]["worker"]["ingressRules"]
        assert [port["port"] for rule in rules for port in rule["ports"]] == [Cluster().port]


def test_ray_is_the_version_that_the_extra_asks_for():
    extra = (ROOT / "pyproject.toml").read_text().split("\nray = [")[1].split("]\n")[0]
    versions = {cluster_of(kind)["rayVersion"] for kind in ("RayCluster", "RayService")}
    assert versions == {"2.60.0"} and ">=2.60," in extra


def test_the_service_is_what_the_command_prints_and_has_room_on_the_cluster():
    config = yaml.safe_load(made("RayService")["spec"]["serveConfigV2"])
    (application,) = config["applications"]
    cluster = Cluster.model_validate(application["args"])
    printed = serve_config(cluster, secrets=False)
    # The image holds the wheel, where all of Charter has one name.
    assert config == printed | {
        "applications": [{**one, "import_path": f"charter.{one['import_path']}"} for one in printed["applications"]]
    }
    assert cluster.stop_seconds("worker") <= 90
    _has_room(cluster, "RayService")


def test_the_job_is_a_command_of_ours_on_the_cluster_beside_it():
    spec = made("RayJob")["spec"]
    assert spec["clusterSelector"] == {"ray.io/cluster": made("RayCluster")["metadata"]["name"]}
    program, *words = shlex.split(spec["entrypoint"])
    verbs: Any = typer.main.get_command(app)
    command = verbs.commands[words[0]].commands[words[1]]
    given = command.make_context("up", words[2:]).params
    assert (program, words[:2], given["ray"]) == ("charter", ["cluster", "up"], "http://127.0.0.1:8265")
    settings = dict(text.split("=") for text in given["overrides"])
    model = {"threads": int(settings["model.threads"])}
    _has_room(Cluster.model_validate({"model": model, "workers": given["workers"]}), "RayCluster")


def _has_room(cluster: Cluster, kind: str) -> None:
    (workers,) = cluster_of(kind)["workerGroupSpecs"]
    cpus = float(container(workers)["resources"]["limits"]["cpu"])
    check_fits(cluster, [Node(f"pod {number}", "", {"CPU": cpus}) for number in range(workers["replicas"])])


def test_what_is_not_in_this_folder_is_in_that_of_the_deployments_without_ray():
    named = {
        one["metadata"]["name"]
        for file in ("service-account.yaml", "shared-files.yaml")
        for one in resources(KUBERNETES / "base" / file)
    }
    for group in groups(cluster_of("RayService")):
        pod = group["template"]["spec"]
        claims = {
            each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "persistentVolumeClaim" in each
        }
        assert {pod["serviceAccountName"], *claims} == named
