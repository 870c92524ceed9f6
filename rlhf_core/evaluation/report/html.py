"""The pieces of the page: escaped text, numbers with their intervals, tables, pictures and marked changes."""

from __future__ import annotations

import base64
import difflib
import html
import re
from collections.abc import Sequence
from importlib.resources import files

from rlhf_core.evaluation.statistics import Estimate

TITLE = re.compile(r'<section id="([^"]*)"><h2>([^<]*)</h2>')
WORDS = re.compile(r"\s+|\w+|[^\w\s]")


def stylesheet() -> str:
    """Return the style of every page that Charter writes."""
    return files(__package__ or "").joinpath("report.css").read_text(encoding="utf-8")


def text(value: object) -> str:
    """Write anything as text that HTML cannot read as markup."""
    return html.escape(str(value))


def decimal(value: float, digits: int = 2) -> str:
    """Write fixed decimals with a true minus sign, and no minus before a zero."""
    return f"{value:z.{digits}f}".replace("-", "−")


def number(estimate: Estimate | None, digits: int = 2, percent: bool = False) -> str:
    """Write a value and its 95 % interval; a dash where there is none."""
    if estimate is None:
        return '<span class="none">–</span>'
    factor, unit = (100, " %") if percent else (1, "")
    value, low, high = (decimal(factor * each, digits) for each in (estimate.value, estimate.low, estimate.high))
    return f'<b>{value}{unit}</b> <span class="interval" title="95 % interval, n = {estimate.n}">{low} to {high}</span>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """Make a table whose cells are HTML; the first column names the row."""
    titles = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    below = f'<p class="note">{note}</p>' if note else ""
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>{below}'


def section(title: str, *parts: str) -> str:
    """Make a titled part of the page; nothing when all its parts are empty."""
    body = "".join(parts)
    name = re.sub(r"\W+", "-", title.lower()).strip("-")
    return f'<section id="{name}"><h2>{text(title)}</h2>{body}</section>' if body else ""


def contents(sections: Sequence[str]) -> str:
    """Make links to the sections that have anything in them."""
    found = [TITLE.match(part) for part in sections]
    links = [f'<li><a href="#{one[1]}">{one[2]}</a></li>' for one in found if one]
    return f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>' if links else ""


def picture(light: bytes | None, dark: bytes | None, caption: str) -> str:
    """Make an inline picture that follows the reader's colour scheme."""
    if light is None or dark is None:
        return ""
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{_data(dark)}">'
        f'<img src="{_data(light)}" alt="{text(caption)}"></picture><figcaption>{text(caption)}</figcaption></figure>'
    )


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def changes(before: str, after: str) -> tuple[str, str]:
    """Write both texts as lines of HTML: changed lines are marked, and in them the words that went or came."""
    old, new = before.splitlines(), after.splitlines()
    left, right = [], []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            left += [_line(text(line), False) for line in old[a:b]]
            right += [_line(text(line), False) for line in new[c:d]]
        elif kind == "replace" and b - a == d - c:
            for gone, come in zip(old[a:b], new[c:d], strict=True):
                marked = _words(gone, come)
                left.append(_line(marked[0], True))
                right.append(_line(marked[1], True))
        else:
            left += [_line(f"<del>{text(line)}</del>", True) for line in old[a:b]]
            right += [_line(f"<ins>{text(line)}</ins>", True) for line in new[c:d]]
    return "".join(left), "".join(right)


def _words(before: str, after: str) -> tuple[str, str]:
    old, new = WORDS.findall(before), WORDS.findall(after)
    left = right = ""
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        gone, come = text("".join(old[a:b])), text("".join(new[c:d]))
        left += gone if kind == "equal" else f"<del>{gone}</del>" if gone else ""
        right += come if kind == "equal" else f"<ins>{come}</ins>" if come else ""
    return left, right


def _line(marked: str, changed: bool) -> str:
    return f'<div class="line{" changed" if changed else ""}">{marked or "&nbsp;"}</div>'
