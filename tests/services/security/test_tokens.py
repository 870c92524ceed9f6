"""The tokens file: hashes only, changes that take hold at once, and what each scope allows."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
from charter import v1

from rlhf_core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from services.security import tokens as tokens_file
from services.security.scopes import NEEDED, SCOPES, check_scope
from services.security.tokens import TokenEntry, Tokens, new_token, read_tokens, revoke_token

MODULES = [
    import_module(f"charter.v1.{found.name}") for found in iter_modules(v1.__path__) if found.name.endswith("_pb2")
]
METHODS = {
    f"{service.full_name}/{method.name}"
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def test_every_method_of_the_contract_has_a_scope_and_no_other():
    assert set(NEEDED) == METHODS


def test_only_questions_are_open_to_readers():
    verbs = (
        "Get",
        "List",
        "Watch",
        "Check",
        "Generate",
        "Critique",
        "Revise",
        "Compare",
        "Score",
        "Diff",
        "Test",
        "Export",
        "Find",
    )
    # What people answered, with their names, is for reviewers.
    open_ones = {method: scope for method, scope in NEEDED.items() if scope != "review"}
    for method, scope in open_ones.items():
        assert (scope in ("annotate", "read")) == method.partition("/")[2].startswith(verbs), method


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("annotate", {"annotate", "label"}),
        ("read", {"annotate", "read"}),
        ("label", {"annotate", "read", "label"}),
        ("review", {"annotate", "read", "label", "review"}),
        ("train", {"annotate", "read", "train"}),
        ("admin", {"annotate", "read", "label", "review", "train", "admin"}),
    ],
)
def test_a_scope_opens_these_methods_and_no_others(scope, allowed):
    for method, needed in [*NEEDED.items(), ("charter.v1.PolicyService/NotYetDeclared", "admin")]:
        if needed in allowed:
            check_scope(f"/{method}", (scope,), "alice")
        else:
            with pytest.raises(Forbidden, match=f"token 'alice' has the scope {scope}; .* needs {needed}"):
                check_scope(f"/{method}", (scope,), "alice")


def test_the_file_holds_the_hash_and_not_the_token(tmp_path):
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "alice", ["label"])
    text = file.read_text()
    assert token not in text and token.removeprefix("charter_") not in text
    assert hashlib.sha256(token.encode()).hexdigest() in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and len(token) > 40
    caller = Tokens(file).caller(f"Bearer {token}")
    assert (caller.name, caller.scopes) == ("alice", ("label",))


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic x", "Bearer wrong", b"Bearer \xff\xfe", "x" * 10**6]
)
def test_what_is_no_known_token_is_refused(tmp_path, header):
    new_token(tmp_path / "t", "alice", ["admin"])
    with pytest.raises(Unauthenticated) as caught:
        Tokens(tmp_path / "t").caller(header)
    assert caught.value.field == "token"


def test_a_token_that_is_added_or_revoked_counts_at_once(tmp_path):
    file = tmp_path / "tokens.yaml"
    first = new_token(file, "alice", ["read"])
    tokens = Tokens(file)
    second = new_token(file, "bob", ["read", "train"])
    assert tokens.caller(f"Bearer {second}").scopes == ("read", "train")
    revoke_token(file, "alice")
    with pytest.raises(Unauthenticated):
        tokens.caller(f"Bearer {first}")
    assert [entry.name for entry in read_tokens(file)] == ["bob"]


def test_a_token_that_is_revoked_while_another_is_made_stays_revoked(tmp_path, monkeypatch):
    file = tmp_path / "tokens.yaml"
    new_token(file, "alice", ["read"])
    read, revoking = tokens_file.read_tokens, threading.Thread(target=revoke_token, args=(file, "alice"))

    def read_and_let_the_other_begin(given: Path) -> list[TokenEntry]:
        found = read(given)
        if not revoking.ident:
            revoking.start()
            revoking.join(0.3)
        return found

    monkeypatch.setattr(tokens_file, "read_tokens", read_and_let_the_other_begin)
    new_token(file, "bob", ["read"])
    revoking.join()
    assert [entry.name for entry in read(file)] == ["bob"]


def test_a_file_that_becomes_wrong_leaves_the_tokens_as_they_were(tmp_path, caplog):
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "alice", ["read"])
    tokens = Tokens(file)
    for broken in ("- {", "- name: alice\n  scopes: [everything]\n", "42\n"):
        file.write_text(broken)
        assert tokens.caller(f"Bearer {token}").name == "alice"
    assert caplog.text.count("the tokens stay as they were") == 3
    os.remove(file)
    assert tokens.caller(f"Bearer {token}").name == "alice"


def test_an_expired_token_says_so(tmp_path):
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    token = new_token(tmp_path / "t", "alice", ["read"], yesterday)
    with pytest.raises(Unauthenticated, match=f"'alice' expired on {yesterday}"):
        Tokens(tmp_path / "t").caller(f"Bearer {token}")
    today = new_token(tmp_path / "t", "bob", ["read"], datetime.now(UTC).date())
    assert Tokens(tmp_path / "t").caller(f"Bearer {today}").name == "bob"


def test_names_are_unique_and_plain(tmp_path):
    file = tmp_path / "t"
    new_token(file, "alice", ["read"])
    with pytest.raises(Conflict, match="charter token revoke alice"):
        new_token(file, "alice", ["admin"])
    for name in ("", "a b", "../x", "x" * 65):
        with pytest.raises(InvalidInput):
            new_token(file, name, ["read"])
    with pytest.raises(NotFound):
        revoke_token(file, "nobody")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "charter token new NAME --scope admin --file"),
        (
            "- name: a\n  scopes: [root]\n",
            r"entry 0.scopes.0: Input should be 'annotate', 'read', 'label', 'review', 'train' or 'admin'",
        ),
        ("- name: a\n  scopes: [read]\n  sha256: abc\n  created: 2026-01-01\n", "entry 0.sha256"),
        ("a: [\n", "cannot be read"),
    ],
)
def test_a_wrong_file_is_told_when_the_server_starts(tmp_path, text, said):
    file = tmp_path / "tokens.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidInput, match=said):
        Tokens(file)


def test_scopes_are_those_of_the_issue():
    assert SCOPES == ("annotate", "read", "label", "review", "train", "admin")
