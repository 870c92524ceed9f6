"""Labelling by keys in a real browser: what was decided is stored once and in order, whatever happens to the line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.seeding import is_swapped
from rlhf_core.store.store import Store
from tests.processes import HERE, MAIN, free_ports
from tests.services.console.conftest import Site, console, fill
from tests.services.console.desks import labeler, press, press_over_a_line_that_is_cut_twice, saved

KEYS = {"a": "left", "b": "right", "t": "tie", "x": "both_bad", "s": "skip"}
SIDES = {("left", False): "a", ("right", False): "b", ("left", True): "b", ("right", True): "a"}


def stored(site: Site, who: str = "ana") -> list[tuple[str, str]]:
    found = site.grpc.preference.list_preferences()
    return [(label.comparison_id, label.choice) for label in found if label.labeler == f"human:{who}"]


def meant(seen: list[tuple[str, str]], who: str = "ana") -> list[tuple[str, str]]:
    """What the keys say of the pairs that were on the screen, in terms of the samples."""
    choices = [(shown, KEYS[key]) for shown, key in seen]
    return [(shown, SIDES.get((choice, is_swapped(f"human:{who}", shown)), choice)) for shown, choice in choices]


THIRTY = "abtxsabbat" * 3


def test_keys_are_stored_as_what_stood_there_and_can_be_taken_back(site, chromium):
    page = labeler(site.url, chromium)
    assert page.inner_text("#progress") == "40 left · 0 today · all saved"
    assert page.inner_text("#left mark") and page.inner_text(".guide").count("Which reply") >= 1
    seen = press(page, "abtxs", 0.02)
    saved(page)
    assert stored(site) == meant(seen)
    assert page.inner_text("#progress") == "35 left · 5 today · all saved"
    press(page, "uu", 0.02)
    assert page.get_attribute("#item", "data-id") == seen[3][0]
    assert page.inner_text("#state") == "Taken back: both bad."
    again = press(page, "bb", 0.02)
    assert [shown for shown, _ in again] == [shown for shown, _ in seen[3:]]
    saved(page)
    assert stored(site) == meant([*seen[:3], *again])


def test_the_last_ten_answers_can_be_read_again_beside_what_takes_them_back(site, chromium):
    page = labeler(site.url, chromium)
    assert page.is_hidden("#last")
    asked = []
    for key in "abtxsabtxsa":
        asked.append(page.inner_text("#prompt"))
        page.keyboard.press(key)
    page.click("#last summary")
    lines = page.locator("#answers li").all_inner_texts()
    words = {"a": "A is better", "b": "B is better", "t": "equal", "x": "both bad", "s": "skipped"}
    expected = [f"{words[key]}: {prompt}" for key, prompt in zip("abtxsabtxsa", asked, strict=True)]
    assert lines == expected[:0:-1], "ten of eleven, the newest first"
    page.keyboard.press("n")
    page.keyboard.type("too long")
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    assert page.locator("#answers li").first.inner_text().endswith(" (too long)")
    press(page, "u", 0.02)
    assert page.locator("#answers li").all_inner_texts() == expected[:1:-1], "what was taken back is no answer"


def test_a_note_goes_with_its_answer_and_its_keys_are_no_answers(site, chromium):
    page = labeler(site.url, chromium)
    page.keyboard.press("n")
    page.keyboard.type("a bat")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    saved(page)
    [label] = site.grpc.preference.list_preferences()
    assert (label.choice, label.reason) == ("skip", "a bat")
    assert page.input_value("#note") == ""


def test_a_key_held_down_or_switched_off_answers_nothing_more(site, chromium):
    page = labeler(site.url, chromium)
    for _ in range(5):
        page.keyboard.down("a")
    page.keyboard.up("a")
    page.keyboard.press("Control+b")
    page.uncheck("#keys")
    page.keyboard.press("b")
    saved(page)
    assert len(stored(site)) == 1
    page.click("text=B is better")
    saved(page)
    assert len(stored(site)) == 2


def test_hostile_text_stays_text(tmp_path, chromium):
    attack = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202egnp"
    prompt = Prompt.of(f"{attack} prompt")
    store = Store.open(tmp_path)
    replies = [Sample(id=s, prompt=prompt, response=f"{attack} {s}", policy_version="base") for s in "ab"]
    store.comparisons.add([Comparison.of(*replies, "")])
    store.close()
    with console(tmp_path) as site:
        page = labeler(site.url, chromium, name="<b>eve</b>")
        alerts, asked = [], []
        page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.reload()
        page.wait_for_selector("#item:visible")
        for place in ("#prompt", "#left", "#right"):
            text = page.inner_text(place)
            assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in text and "\\u202egnp" in text
        assert page.locator("#item img, #item script").count() == 0
        press(page, "x", 0.02)
        page.click("#last summary")
        assert "<script>alert(1)</script>" in page.inner_text("#answers")
        assert page.locator("#answers img, #answers script").count() == 0
        assert alerts == [] and asked and all(url.startswith(site.url) for url in asked)
        page.goto(f"{site.url}/label")
        assert page.input_value("#name") == "<b>eve</b>"


def test_a_browser_without_room_to_keep_answers_still_sends_them_and_says_so(site, chromium):
    page = labeler(site.url, chromium)
    page.evaluate(
        """() => {
          for (let size = 2 ** 22; size >= 1; size = Math.floor(size / 2)) {
            try { for (let i = 0; ; i++) localStorage.setItem(`junk-${size}-${i}`, "x".repeat(size)); } catch {}
          }
        }"""
    )
    seen = press(page, "ab", 0.05)
    saved(page)
    assert page.inner_text("#state").startswith("This browser has no room to keep answers")
    assert stored(site) == meant(seen)


def test_nothing_left_is_said(tmp_path, chromium):
    fill(tmp_path, 2)
    with console(tmp_path) as site:
        page = labeler(site.url, chromium)
        press(page, "abt", 0.05)
        page.wait_for_selector("#state:has-text('Nothing is left to label for helpful.')")
        assert len(stored(site)) == 2
        press(page, "u")
        assert page.is_visible("#item")


@pytest.mark.slow
def test_thirty_labels_at_eight_keys_a_second_are_stored_once_and_in_order(site, chromium):
    page = labeler(site.url, chromium)
    seen = press(page, THIRTY)
    saved(page)
    assert stored(site) == meant(seen) and len({shown for shown, _ in seen}) == 30
    assert page.inner_text("#progress") == "10 left · 30 today · all saved"


@pytest.mark.slow
def test_a_line_that_is_cut_twice_loses_and_doubles_nothing(site, chromium):
    page = labeler(site.url, chromium)
    seen = press_over_a_line_that_is_cut_twice(page, THIRTY)
    assert stored(site) == meant(seen)


@pytest.mark.slow
def test_what_was_not_sent_outlives_a_reload_and_so_do_the_last_answers(site, chromium):
    page = labeler(site.url, chromium)
    page.route("**/label/steps", lambda route: route.abort())
    seen = press(page, "abt", 0.05)
    page.reload()
    page.wait_for_selector("#state:has-text('No connection. 3 answers wait here and will be sent.')")
    assert stored(site) == []
    page.unroute_all(behavior="wait")
    saved(page)
    assert stored(site) == meant(seen)
    assert page.get_attribute("#item", "data-id") not in [shown for shown, _ in seen]
    page.keyboard.press("u")
    assert page.get_attribute("#item", "data-id") == seen[-1][0]
    saved(page)
    assert stored(site) == meant(seen[:-1])


@pytest.mark.slow
def test_a_second_tab_waits_until_it_takes_over_and_then_the_first_one_does(site, chromium):
    first = labeler(site.url, chromium)
    second = first.context.new_page()
    second.goto(first.url)
    second.wait_for_selector("#elsewhere:visible")
    press(second, "ab")
    seen = press(first, "ab")
    saved(first)
    assert stored(site) == meant(seen)
    second.click("#here")
    second.wait_for_selector("#item:visible")
    first.wait_for_selector("#elsewhere:visible")
    press(first, "tt")
    seen += press(second, "ba")
    saved(second)
    assert stored(site) == meant(seen)
    press(second, "u")
    saved(second)
    assert stored(site) == meant(seen[:-1]), "what was decided in either tab can be taken back"


@pytest.mark.slow
def test_two_people_at_once_never_see_the_same_pair(tmp_path, chromium):
    fill(tmp_path, 50)
    with console(tmp_path) as site:
        pages = {name: labeler(site.url, chromium, name=name) for name in ("ana", "bo")}
        seen: dict[str, list[tuple[str, str]]] = {name: [] for name in pages}
        for key in "abtab" * 2:
            for name, page in pages.items():
                seen[name] += press(page, key, 0.05)
        for name, page in pages.items():
            saved(page)
            assert stored(site, name) == meant(seen[name], name)
        assert not {shown for shown, _ in seen["ana"]} & {shown for shown, _ in seen["bo"]}


@contextmanager
def server_process(data: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    words = ["serve", "--only", "preference,trainer", "--socket", f"{data}/s", "--data", str(data)]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *words, "--console", f"127.0.0.1:{port}"],
        env={**os.environ, **HERE, "CHARTER_TOKEN": ""},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines[1].decode().strip() == f"console on http://127.0.0.1:{port}", lines
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back_loses_and_doubles_nothing(tmp_path, chromium):
    fill(tmp_path)
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with server_process(tmp_path, port):
        page = labeler(url, chromium)
        seen = press(page, THIRTY[:10])
    seen += press(page, THIRTY[10:20])
    with server_process(tmp_path, port):
        seen += press(page, THIRTY[20:])
        saved(page)
    store = Store.open(tmp_path)
    found = [(label.comparison_id, label.choice) for label in store.preferences.find(labelers="human")]
    store.close()
    assert found == meant(seen) and len({shown for shown, _ in seen}) == 30


@pytest.mark.slow
def test_a_lease_that_ran_out_costs_nobody_an_answer(tmp_path, chromium, monkeypatch):
    """Another person gets the pairs, both answer, and each answer counts."""
    monkeypatch.setattr("services.console.labelling.LEASE_SECONDS", 1)
    fill(tmp_path, 3)
    with console(tmp_path) as site:
        ana = labeler(site.url, chromium)
        time.sleep(1.5)
        bo = labeler(site.url, chromium, name="bo")
        seen = {"bo": press(bo, "aab"), "ana": press(ana, "bta")}
        for name, page in (("ana", ana), ("bo", bo)):
            page.wait_for_selector("#progress:has-text('all saved')")
            assert stored(site, name) == meant(seen[name], name)
            assert len(seen[name]) == 3


@pytest.mark.slow
def test_the_next_pair_is_there_within_a_tenth_of_a_second(site, chromium):
    page = labeler(site.url, chromium)
    took = page.evaluate(
        """async () => {
          const took = [];
          for (let i = 0; i < 30; i++) {
            const pair = document.getElementById("item"), before = pair.dataset.id, began = performance.now();
            document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "a", bubbles: true}));
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
            if (pair.dataset.id === before) return [];
            took.push(performance.now() - began);
            await new Promise((done) => setTimeout(done, 100));
          }
          return took;
        }"""
    )
    took.sort()
    assert len(took) == 30
    print(f"key to next pair: median {took[15]:.0f} ms, p95 {took[28]:.0f} ms")
    assert took[28] < 100
