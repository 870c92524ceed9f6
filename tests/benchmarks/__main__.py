"""`make bench`: run every bench_*.py here in a process of its own, and write all their rows to bench.json.

`python -m tests.benchmarks [-o bench.json] [NAME ...]` runs only those whose file names contain one of the names.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def main() -> int:
    """The number of scripts that failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("names", nargs="*", help="parts of file names; none means all")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "bench.json")
    options = parser.parse_args()
    rows, failed = [], []
    for script in sorted(HERE.glob("bench_*.py")):
        if options.names and not any(name in script.stem for name in options.names):
            continue
        print(f"{script.stem}: ours, baseline, ours over baseline", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            found = Path(folder) / "rows.json"
            module = f"tests.benchmarks.{script.stem}"
            code = subprocess.run([sys.executable, "-m", module, str(found)], cwd=ROOT).returncode
            if code or not found.exists():
                failed.append(script.stem)
                continue
            rows += json.loads(found.read_text())
    options.output.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    print(f"{len(rows)} rows in {options.output}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
