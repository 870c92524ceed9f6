"""`make docs`: write the pages of docs/ that are made from the code. A test holds them to it."""

from __future__ import annotations

import json

from tests.docs.contracts import grpc_page
from tests.docs.settings import ROOT, run_page, run_schema, server_page

DOCS = ROOT / "docs"


def pages() -> dict[str, str]:
    """File name in docs/ -> its text."""
    return {
        "configuration.md": run_page(),
        "server-configuration.md": server_page(),
        "run.schema.json": json.dumps(run_schema(), indent=1) + "\n",
        "grpc.md": grpc_page(),
    }


def main() -> None:
    for name, text in pages().items():
        (DOCS / name).write_text(text)
        print(f"docs/{name}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    main()
