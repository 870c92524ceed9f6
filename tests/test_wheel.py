"""The wheel: one name on a machine, `charter`, beside whatever else a project calls `services` or `rlhf_core`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.small_run import SMALL

ROOT = Path(__file__).parents[1]
DECOY = "raise ImportError('this is another project, not Charter')\n"
STORY = """
import charter
from charter.records import Prompt, RunConfig

config = RunConfig.model_validate_json(open("run.json").read())
with charter.local("data", config.model) as client:
    [sample] = client.policy.generate([Prompt.of("How do I unclog the drain?")], max_tokens=8)
    assert sample.response
    run = client.trainer.create_run(config)
    for _ in client.trainer.watch_run(run.id):
        pass
    found = client.trainer.get_run(run.id)
    print(found.state, found.error)
import sys
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("services", "rlhf_core", "constitutions")))
"""

STARTED = """
from importlib.util import find_spec

from charter.rlhf_core.inference import own_sampler
from charter.rlhf_core.training.learners import launch
from charter.services.cluster import config

for name in (launch.PROCESS, own_sampler.PROCESS, config.BUILD.partition(":")[0]):
    print(find_spec(name).name)
"""


def moved(code: str) -> str:
    spec = importlib.util.spec_from_file_location("wheel_hook", ROOT / "deploy/wheel.py")
    assert spec and spec.loader
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return hook.moved(code, "some/file.py")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what a wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=100)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def in_a_project(folder: Path, site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a project that has packages of the same names, which come first on its path."""
    for name in ("services", "rlhf_core", "constitutions"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "__init__.py").write_text(DECOY)
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{site}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=500
    )


def test_a_wheel_takes_one_name_and_holds_what_is_no_code(installed):
    names = {entry.name for entry in installed.iterdir() if not entry.name.endswith(".dist-info")}
    assert names == {"charter"}
    held = ("py.typed", "constitutions/household.yaml", "rlhf_core/sandbox/model/model.safetensors")
    assert all((installed / "charter" / name).is_file() for name in held)


def test_the_command_line_works_beside_packages_of_the_same_names(installed, tmp_path):
    done = in_a_project(tmp_path, installed, "-m", "charter", "constitution", "check", "household")
    assert (done.returncode, done.stderr) == (0, "")


def test_modules_that_other_processes_begin_with_are_those_of_the_wheel(installed, tmp_path):
    done = in_a_project(tmp_path, installed, "-c", STARTED)
    names = [
        "charter.rlhf_core.training.learners.process",
        "charter.rlhf_core.inference.sampler_process",
        "charter.services.cluster.processes",
    ]
    assert done.stdout.split() == names, done.stderr


@pytest.mark.slow
def test_a_whole_run_works_beside_packages_of_the_same_names(installed, tmp_path):
    (tmp_path / "run.json").write_text(SMALL.model_dump_json())
    done = in_a_project(tmp_path, installed, "-c", STORY)
    assert done.stdout.splitlines() == ["SUCCEEDED ", "[]"], done.stderr


def test_imports_are_moved_wherever_they_stand():
    code = "import rlhf_core\nfrom services import app\ndef f():\n    from rlhf_core.store.store import Store\n"
    assert moved(code) == (
        "from charter import rlhf_core\nfrom charter.services import app\n"
        "def f():\n    from charter.rlhf_core.store.store import Store\n"
    )
    text = "import os\nfrom rlhf_core_extra import x\nnote = 'from services to you'\n"
    assert moved(text) == text


def test_an_import_that_cannot_be_moved_stops_the_build_and_is_named():
    with pytest.raises(ValueError, match=r"some/file.py:2: write 'from services.app import ...'"):
        moved("x = 1\nimport services.app\n")
