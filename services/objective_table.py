"""What each objective had of the last PPO step, as a small table."""

from __future__ import annotations

from rich.table import Table

COLUMNS = {
    "weight": "weight",
    "z": "score, z",
    "reward": "reward",
    "advantage_share": "pull",
    "explained_variance": "critic",
    "clipped": "clipped",
    "auditor_z": "auditor, z",
    "gap": "gap",
}
"""Metric -> title. pull: its share of the advantage; critic: explained variance; gap: held-out z less the auditor's."""
SHARES = ("advantage_share", "clipped")
KL = "kl"


def objective_table(values: dict[str, float]) -> Table | None:
    """A row for each objective, and one for the price of KL; None for metrics that tell of no objectives."""
    names = [name.removeprefix("weight.") for name in values if name.startswith("weight.")]
    shown = {metric: title for metric, title in COLUMNS.items() if any(f"{metric}.{name}" in values for name in names)}
    if not names:
        return None
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    table.add_column("")
    for title in shown.values():
        table.add_column(title, justify="right")
    for name in (*names, KL):
        table.add_row("KL" if name == KL else name, *(_cell(values, metric, name) for metric in shown))
    return table


def _cell(values: dict[str, float], metric: str, name: str) -> str:
    value = values.get(f"{metric}.{name}")
    if value is None:
        return ""
    return f"{value:.0%}" if metric in SHARES else f"{value:.3g}"
