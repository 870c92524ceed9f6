"""What the console serves as it lies: vendored files by their hashes, and nothing that its own policy would stop."""

from __future__ import annotations

import hashlib
import re

import pytest

from services.console.pages import HERE

VENDORED = {
    "uplot/LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    "uplot/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot/uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
"""SHA-256 of what npm's registry has: uplot 1.6.32."""


def test_vendored_files_are_those_of_the_registry_and_no_others():
    folder = HERE / "static/vendor"
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert found == VENDORED


@pytest.mark.parametrize("path", sorted((HERE / "templates").glob("*.html")), ids=lambda path: path.name)
def test_no_template_has_a_script_a_style_or_a_handler_within_it_or_names_another_host(path):
    text = path.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|\|\s*safe|https?://", text)


@pytest.mark.parametrize("path", sorted((HERE / "static").glob("*.js")), ids=lambda path: path.name)
def test_no_script_makes_markup_of_text_or_names_another_host(path):
    found = re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://", path.read_text())
    assert found is None
