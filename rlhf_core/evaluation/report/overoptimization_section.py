"""Tables of reward hacking: fitted curves, when scores and truth parted, and best-of-n."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.evaluation.best_of_n import BestOfN
from rlhf_core.evaluation.overoptimization import GaoFit, Goodhart
from rlhf_core.evaluation.report.html import decimal, number, table, text

JUDGES = {"proxy": "reward model", "auditor": "auditor", "gold": "gold"}
CURVES = (
    "Gains over the fine-tuned policy on the same held-out prompts, in standard deviations of its scores. The curve is "
    "d (α − β log d) with d = sqrt(KL) (Gao et al. 2022); nothing is said beyond the distances that were seen. The "
    "auditor learned from other labels, and nothing is trained against it. Parted: the first step at which the truth "
    "(gold, or else the auditor) has fallen from its best while the reward model's score rose. Kept: the "
    "truth's gain at the step that became the policy, as a share of the best that was seen."
)
CHOICES = (
    "What choosing the best of n replies of the fine-tuned policy by the reward model gains, before anything is "
    "trained on it; KL is log n − (n − 1)/n. Accepted: the auditor sees a gain at the largest n."
)


def goodhart_table(rows: Sequence[Goodhart]) -> str:
    """Return a row for each objective and judge."""
    cells = [_curve(found, judge) for found in rows for judge in JUDGES if getattr(found.points[-1], judge) is not None]
    head = ["objective, judge", "gain, last step", "α", "β", "peak at d", "parted at step", "kept"]
    return table(head, cells, CURVES) if cells else ""


def _curve(found: Goodhart, judge: str) -> list[str]:
    fit, last = found.fits.get(judge), getattr(found.points[-1], judge)
    parted = "–" if found.parted_at is None else str(found.parted_at)
    kept = "–" if found.kept is None else f"{100 * found.kept:.0f} %"
    constants = [number(fit.alpha), number(fit.beta), _peak(fit)] if fit else ["–", "–", "too few distances"]
    return [
        f"{text(found.objective)}, {text(JUDGES[judge])}",
        number(last),
        *constants,
        *((parted, kept) if judge == "proxy" else ("", "")),
    ]


def _peak(fit: GaoFit) -> str:
    return f"<small>{text(fit.refusal)}</small>" if fit.peak is None else decimal(fit.peak)


def best_of_n_table(rows: Sequence[BestOfN]) -> str:
    """Return a row for each objective and judge, a column for each n."""
    if not rows:
        return ""
    head = ["objective, judge", *(f"n = {n}<br><small>{kl:.2f} nats</small>" for n, kl in _counts(rows[0])), "accepted"]
    cells = []
    for found in rows:
        for judge, gains in found.gains.items():
            verdict = {None: "no auditor", True: "yes", False: "<b>no</b>"}[found.accepted] if judge == "proxy" else ""
            name = f"{text(found.objective)}, {text(JUDGES[judge])}"
            cells.append([name, *(number(gain) for gain in gains), verdict])
    return table(head, cells, CHOICES)


def _counts(found: BestOfN) -> list[tuple[int, float]]:
    return list(zip(found.n, found.kl, strict=True))
