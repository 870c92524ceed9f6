"""Every page by axe's rules, at two widths and in both colour schemes, and no page wider than a telephone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlhf_core.config.labelling import LabellingConfig
from rlhf_core.records.annotation import Adjudication
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from services.client.assessment import Fault
from services.security.tokens import new_token
from tests.services.console.conftest import Site, console, fill, pair
from tests.services.console.test_datasets_pages import ROWS, lines, upload
from tests.services.console.test_explorer_pages import filled
from tests.services.console.test_runs_pages import step
from tests.services.rpc.test_studies import TWO, add_policy, draw, label
from tests.services.rpc.test_study_ratings import rate
from tests.services.run_server import CONFIG

AXE = Path(os.environ.get("AXE_JS", "/nowhere"))
"""axe.min.js of the npm package axe-core, where somebody has it."""
SERIOUS = ("serious", "critical")


class Pages(NamedTuple):
    addresses: list[str]
    cookie: dict[str, str]
    """Of somebody who only annotates, for the pages that are theirs."""


@pytest.fixture
def all_pages(tmp_path: Path) -> Iterator[Pages]:
    """All pages, with something on each."""
    with site_of_reviewers(tmp_path / "reviewers") as pages, site_of_annotators(tmp_path / "annotators") as own:
        yield own._replace(addresses=[*pages, *own.addresses])


@contextmanager
def site_of_annotators(data: Path) -> Iterator[Pages]:
    fill(data, 5)
    file = data / "tokens.yaml"
    token = new_token(file, "ada", ["annotate"])
    with closing(Store.open(data)) as store:
        decision = Adjudication(comparison_id=pair(0).id, objective="helpful", choice="a", adjudicated_by="rei")
        store.adjudications.add(decision)
    with console(data, tokens=file, labelling=LabellingConfig(calibration_items=1)) as site:
        cookie = {"name": "charter_token", "value": token, "url": site.url}
        yield Pages([f"{site.url}/quality", f"{site.url}/label"], cookie)


@contextmanager
def site_of_reviewers(tmp_path: Path) -> Iterator[list[str]]:
    fill(tmp_path, 5, replies=3)
    store = Store.open(tmp_path)
    store.workers.sign_in(this_process())
    with console(tmp_path) as site:
        run = site.grpc.trainer.create_run(CONFIG, display_name="a run", tags={"sweep": "kl"}).id
        store.runs.claim(this_process(), 3600)
        for number in range(3):
            step(store, run, number + 1)
        for who, choice in (("ada", "a"), ("bo", "b")):
            given = {"objective": "helpful", "labeler": who, "choice": choice}
            site.grpc.preference.submit_preference(pair(0).id, **given, swapped=False)
        looked_into = filled(tmp_path)
        assert upload(site, lines(ROWS)).status_code == 200
        replies = f"/runs/{looked_into}/samples"
        more = (replies, f"{replies}?text=hours&max_kl=3", f"{replies}/s0", "/datasets", "/datasets/mine")
        faults = [Fault(4, 6, "no-fumes"), Fault(4, 10, "no-fumes")]
        site.grpc.assessments.submit("spans", ["w0a"], objective="harmless", labeler="ana", faults=faults)
        add_policy(tmp_path)
        open_, closed = (site.grpc.studies.create_study(TWO, objectives=["harmless"]).id for _ in range(2))
        draw(tmp_path, closed)
        label(site.grpc, closed, "harmless", 10)
        rated = rated_study(site)
        studies = ("/studies", *(f"/studies/{study}" for study in (open_, closed, rated)))
        desks_of_study = (f"/label?run={rated}", f"/label/harmless/ratings?run={rated}")
        desks = [f"/label/harmless/{form}" for form in ("pairs", "ratings", "rankings", "spans")]
        looks = (
            "/quality",
            "/quality/helpful",
            "/guidelines",
            "/faults",
            "/runs",
            f"/runs/{run}",
            "/constitution",
            "/sign-in",
            "/nothing",
        )
        paths = ("/label", *desks, *looks, *more, *studies, *desks_of_study)
        yield [f"{site.url}{path}" for path in paths]
    store.close()


def rated_study(site: Site) -> str:
    """One of which the ratings for helpful are in, and those for harmless are asked for."""
    both = {"objectives": ["helpful", "harmless"], "ratings_per_reply": 1}
    study = site.grpc.studies.create_study(TWO, **both).id
    draw(site.data, study, pairs=3, first=100)
    assert rate(site.grpc, study, 9, objective="helpful") == 6
    return study


@pytest.mark.slow
def test_no_page_is_wider_than_the_screen_of_a_telephone(all_pages, chromium):
    context = chromium(viewport={"width": 400, "height": 800})
    context.add_cookies([all_pages.cookie])
    page = context.new_page()
    for address in all_pages.addresses:
        page.goto(address)
        page.wait_for_timeout(600)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 400, f"{address} is {wide} wide"


@pytest.mark.slow
@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: npm pack axe-core, and name its axe.min.js in AXE_JS")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
def test_no_page_has_a_serious_finding_of_axe(all_pages, chromium, scheme, width):
    context = chromium(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    context.add_cookies([all_pages.cookie])
    page = context.new_page()
    found: list[tuple[str, Any]] = []
    for address in all_pages.addresses:
        page.goto(address)
        page.wait_for_timeout(600)
        page.evaluate(AXE.read_text())
        result = page.evaluate("axe.run()")
        for violation in result["violations"]:
            if violation["impact"] in SERIOUS:
                found.append((address, violation["id"], [node["html"][:120] for node in violation["nodes"]][:3]))
    assert found == []
