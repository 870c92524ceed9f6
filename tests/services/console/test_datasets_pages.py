"""Datasets in the console: what is there, row by row, and files that come in, go out, and are deleted."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from services.security.tokens import new_token
from services.server.limits import Limits
from tests.services.console.conftest import Site, console
from tests.services.run_server import CONFIG

ATTACK = "<script>alert(1)</script>"
ROWS = [{"prompt": f"How do I dry sock {number}? {ATTACK}", "tags": ["a"]} for number in range(30)]


def lines(rows: list[dict]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def upload(site: Site, content: bytes, **said: str):
    given = {"name": "mine", "format": "prompts", "description": f"by me {ATTACK}", "file": "mine.jsonl"} | said
    return site.post("/datasets/upload", params=given, content=content)


def delete(site: Site, name: str = "mine", **fields: str):
    return site.http.post("/datasets/mine", data={"name": name} | fields, headers={"origin": site.url})


def test_a_file_comes_in_is_read_page_by_page_and_goes_out_as_it_came(site):
    assert "No datasets yet" in site.http.get("/datasets").text
    answer = upload(site, lines(ROWS))
    assert (answer.status_code, answer.json()) == (200, {"id": "mine", "rows": 30})
    listed = site.http.get("/datasets").text
    assert 'href="/datasets/mine"' in listed and ">30<" in listed
    page = site.http.get("/datasets/mine").text
    assert page.count('class="card"') == 25 and "dry sock 0?" in page and "dry sock 25?" not in page
    link = html.unescape(page.split('class="button" href="?')[1].split('"')[0])
    rest = site.http.get(f"/datasets/mine?{link}").text
    assert rest.count('class="card"') == 5 and "dry sock 29?" in rest
    file = site.http.get("/datasets/mine/file")
    assert file.content == lines(ROWS) and 'filename="mine.jsonl"' in file.headers["content-disposition"]


def test_script_in_rows_and_descriptions_stays_text(site):
    upload(site, lines(ROWS))
    for path in ("/datasets", "/datasets/mine"):
        page = site.http.get(path).text
        assert ATTACK not in page and html.escape(ATTACK) in page


def test_the_versions_of_a_name_are_listed_and_each_is_read_by_itself(site):
    upload(site, lines(ROWS))
    upload(site, lines(ROWS[:2]))
    page = site.http.get("/datasets/mine").text
    old = page.split('href="/datasets/mine@')[1].split('"')[0]
    assert page.count('class="card"') == 2 and len(old) == 64
    assert site.http.get(f"/datasets/mine@{old}").text.count('class="card"') == 25
    assert site.http.get(f"/datasets/mine@{old}/file").content == lines(ROWS)


def test_the_first_row_says_what_a_file_holds_and_a_bad_row_is_named_by_its_line(site):
    pairs = [{"prompt": "p", "chosen": "a", "rejected": "b"}]
    assert upload(site, lines(pairs), format="").status_code == 200
    assert site.grpc.datasets.get("mine").dataset.format == "preferences"
    for content, said, words in (
        (lines([{"prompt": "p"}, {"no": 1}]), {"name": "other"}, "2:"),
        (lines(ROWS), {"name": "Not a name"}, "cannot be a dataset"),
        (lines(ROWS), {"format": "poems"}, "allowed: prompts"),
        (b"", {}, "it is empty"),
        (b"\xff\xfe\x00", {"format": ""}, "1"),
    ):
        answer = upload(site, content, **said)
        assert answer.status_code == 400 and words in answer.json()["error"]["message"], words
    assert [found.id for found in site.grpc.datasets.list().datasets] == ["mine"]


def test_a_dataset_is_deleted_once_its_name_is_typed_and_not_although_runs_were_given_it(tmp_path):
    store = Store.open(tmp_path)
    store.workers.sign_in(this_process())
    store.close()
    with console(tmp_path) as site:
        upload(site, lines(ROWS))
        assert delete(site, "mne").status_code == 400 and "type its name" in delete(site, "").text
        data = CONFIG.data.model_copy(update={"prompts": "dataset:mine"})
        site.grpc.trainer.create_run(CONFIG.model_copy(update={"data": data}))
        assert "although 1 run was given it" in site.http.get("/datasets/mine").text
        refused = delete(site)
        assert refused.status_code == 409 and "runs were given" in refused.text
        assert delete(site, although_used="on", etag="stale").status_code == 409
        assert delete(site, although_used="on").status_code == 303
        assert site.http.get("/datasets/mine").status_code == 404


def test_who_may_only_read_sees_no_forms_and_their_files_are_refused(tmp_path: Path):
    file = tmp_path / "tokens.yaml"
    reads, trains = (new_token(file, name, (name,)) for name in ("read", "train"))
    with console(tmp_path, tokens=file) as site:
        site.http.cookies.set("charter_token", trains)
        assert upload(site, lines(ROWS)).status_code == 200
        site.http.cookies.set("charter_token", reads)
        assert 'id="upload"' not in site.http.get("/datasets").text
        assert "Delete" not in (page := site.http.get("/datasets/mine").text) and "dry sock" in page
        assert upload(site, lines(ROWS)).status_code == delete(site).status_code == 403


def test_a_file_that_is_too_large_or_comes_from_another_site_is_refused(tmp_path):
    with console(tmp_path, limits=Limits(dataset_bytes=100)) as site:
        assert upload(site, lines(ROWS[:1])).status_code == 200
        assert upload(site, lines(ROWS[:2])).status_code == 413
        other = site.http.post("/datasets/upload", content=b"x", headers={"origin": "http://evil.example"})
        assert other.status_code == 403


@pytest.mark.slow
def test_a_file_is_chosen_in_a_browser_and_uploaded(site, chromium, tmp_path):
    file = tmp_path / "My Socks.jsonl"
    file.write_bytes(lines(ROWS))
    page = chromium().new_page()
    page.goto(f"{site.url}/datasets")
    page.set_input_files("#file", file)
    assert page.input_value("#name") == "my-socks"
    page.fill("#name", "b@d")
    page.evaluate("document.getElementById('upload').noValidate = true")
    page.click("text=Upload >> nth=-1")
    page.locator("#told.wrong", has_text="cannot be a dataset").wait_for()
    page.fill("#name", "my-socks")
    page.click("button.main")
    page.wait_for_url("**/datasets/my-socks")
    assert "dry sock 3?" in page.inner_text("main")
