"""Writes a report's files: each appears whole or not at all, report.json last."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from rlhf_core.errors import Unavailable
from rlhf_core.evaluation.plots.overoptimization import draw_best_of_n, draw_goodhart
from rlhf_core.evaluation.plots.pareto import draw_front
from rlhf_core.evaluation.plots.style import DARK, LIGHT, draw_curves, draw_harm, png
from rlhf_core.evaluation.report.page import render_html
from rlhf_core.evaluation.report.record import Report

DRAWINGS = {
    "front": draw_front,
    "curves": draw_curves,
    "harm": draw_harm,
    "goodhart": draw_goodhart,
    "best_of_n": draw_best_of_n,
}


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write report.json, report.html and a PNG for each picture that has data; returns their paths.

    Raises: Unavailable when the folder cannot be written; what was there before stays as it was.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as staging:
            files = _render(report)
            for name, content in files.items():
                _write(Path(staging, name), content)
            for name in files:
                os.replace(Path(staging, name), folder / name)
    except OSError as error:
        raise Unavailable(f"cannot write the report to {folder}: {error.strerror}") from error
    return [folder / name for name in files]


def _render(report: Report) -> dict[str, bytes]:
    """File name -> content, report.json last."""
    pictures = {name: (png(draw, report, LIGHT), png(draw, report, DARK)) for name, draw in DRAWINGS.items()}
    files = {f"{name}.png": light for name, (light, _) in pictures.items() if light is not None}
    files["report.html"] = render_html(report, pictures).encode()
    files["report.json"] = report.model_dump_json(indent=2).encode()
    return files


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
