"""Files are safetensors, JSON and YAML: nothing that is read can run code."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest
import torch

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone

ROOT = Path(__file__).parents[1]
MODULES = frozenset(
    ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle")
)
CALLS = frozenset(("torch.load", "torch.save", "torch.jit.load", "yaml.load", "yaml.unsafe_load", "eval", "exec"))
KEYWORDS = frozenset(("allow_pickle", "trust_remote_code"))


def dangers(source: str) -> list[str]:
    """Imports, calls and arguments that would let a file run code; models loaded from anything but safetensors."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [f"{node.lineno} {name}" for name in names if name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.Call):
            called, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            found += [f"{node.lineno} {called}"] * (called in CALLS)
            found += [f"{node.lineno} {name}" for name in KEYWORDS & given.keys() if given[name] != "False"]
            loads_model = called.endswith(".from_pretrained") and not called.startswith(("AutoTokenizer", "AutoConfig"))
            found += [f"{node.lineno} {called}"] * (loads_model and given.get("use_safetensors") != "True")
    return found


def test_no_code_of_ours_reads_or_writes_pickle():
    files = [path for folder in ("rlhf_core", "services") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): dangers(path.read_text()) for path in files}
    assert len(files) > 100 and {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "def f():\n    import dill.settings",
        "np.load(f, allow_pickle=True)",
        "AutoTokenizer.from_pretrained(p, trust_remote_code=True)",
        "AutoModelForCausalLM.from_pretrained(p)",
        "AutoModel.from_pretrained(p, use_safetensors=False)",
        "kind.from_pretrained(p)",
        "eval('1')",
    ],
)
def test_a_planted_danger_is_found(source):
    assert dangers(source)


class Bomb:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_model_of_pickled_weights_is_refused_and_never_read(tiny_folder, tmp_path):
    mark = tmp_path / "mark"
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_folder("llama").iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    torch.save({"model.norm.weight": Bomb(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match="safetensors"):
        Backbone.load(str(folder), ModelConfig(base_model=str(folder)))
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()
