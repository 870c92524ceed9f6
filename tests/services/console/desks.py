"""Working at a desk of the console in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

EIGHT_A_SECOND = 0.125


def labeler(
    url: str,
    chromium: Callable[..., Any],
    form: str = "pairs",
    name: str = "ana",
    objective: str = "helpful",
    run: str = "",
) -> Any:
    """A page on which this person works at a desk, in a profile of its own."""
    context = chromium()
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto(f"{url}/label")
    page.fill("#name", name)
    page.click("text=That is me")
    page.goto(f"{url}/label/{objective}/{form}{f'?run={run}' if run else ''}")
    page.wait_for_selector("#item:visible")
    return page


def press(page: Any, keys: str, pause: float = EIGHT_A_SECOND) -> list[tuple[str, str]]:
    """Press one key after the other at this pace; what was on the screen when each came."""
    seen = []
    for key in keys:
        due = time.monotonic() + pause
        seen.append((page.get_attribute("#item", "data-id"), key))
        page.keyboard.press(key)
        page.wait_for_timeout(max(0, due - time.monotonic()) * 1000)
    return seen


def saved(page: Any) -> None:
    page.wait_for_selector("#progress:has-text('all saved')")


def press_over_a_line_that_is_cut_twice(page: Any, keys: str) -> list[tuple[str, str]]:
    """Press thirty keys and wait until all are saved; as `press`.

    The line is cut once before the server hears of an answer, and once after it, when only its own answer is lost.
    """
    seen = press(page, keys[:8])
    page.context.set_offline(True)
    seen += press(page, keys[8:16])
    assert page.inner_text("#state").startswith("No connection. 8 answers wait here")
    page.context.set_offline(False)
    seen += press(page, keys[16:22])
    lost: list[int] = []

    def lose_two_answers(route: Any) -> None:
        if len(lost) == 2:
            route.continue_()
        else:
            lost.append(route.fetch().status)
            route.abort()

    page.route("**/label/steps", lose_two_answers)
    seen += press(page, keys[22:])
    saved(page)
    assert lost == [200, 200] and len({shown for shown, _ in seen}) == len(keys)
    return seen
