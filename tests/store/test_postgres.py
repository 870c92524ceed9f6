"""What only a store in PostgreSQL does or meets: several writers at once, a server that restarts, its clock."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Migrations

from rlhf_core.errors import Conflict, Interrupted, InvalidInput, Unavailable
from rlhf_core.records.exploration import SampleFilter
from rlhf_core.store.connection import Connections
from rlhf_core.store.databases import postgres_schema
from rlhf_core.store.databases.place import Place, connect_to, settle, use
from rlhf_core.store.databases.urls import told
from rlhf_core.store.migrations import charter
from rlhf_core.store.row_mapping import to_json
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from tests.store import postgres_server
from tests.store.examples import comparison, preference, sample
from tests.store.postgres_server import Server
from tests.store.test_processes import start

SOON = 20.0


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.empty()


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path / "store", Place(database=url))) as opened:
        yield opened


@pytest.fixture
def own_server() -> Iterator[Server]:
    """One that a test may kill."""
    if reason := postgres_server.why_not():
        pytest.skip(reason)
    with postgres_server.server("fsync=off") as running:
        yield running


def test_two_transactions_write_at_the_same_time(store: Store):
    with ThreadPoolExecutor(1) as pool, store.transaction():
        store.samples.add([sample("mine")])
        # Of another prompt: rows with one id are waited for.
        other = comparison("theirs").a
        theirs = other.model_copy(update={"prompt": other.prompt.of("What is a whisk?")})
        pool.submit(store.samples.add, [theirs]).result(SOON)
        assert store.samples.get("theirs-a") == theirs
    assert set(store.samples.by_id(["mine", "theirs-a"])) == {"mine", "theirs-a"}


def test_a_term_that_two_transactions_make_at_the_same_time_has_the_samples_of_both(store: Store):
    with ThreadPoolExecutor(1) as pool, store.transaction():
        store.samples.add([sample("mine")])
        other = comparison("theirs").a
        theirs = other.model_copy(update={"prompt": other.prompt.of("What is a whisk?")})
        pool.submit(store.samples.add, [theirs]).result(SOON)
    store.samples.add([sample("later")])
    page = store.sample_search.find("run", SampleFilter(stage="label"), 10)
    assert {found.sample.id for found in page.found} == {"mine", "theirs-a", "later"} and page.matches == 3
    assert {term.kind: term.samples for term in store.sample_search.terms("run")} == {"run": 3, "stage": 3, "policy": 3}


def test_the_same_row_from_two_transactions_is_stored_once(store: Store):
    with ThreadPoolExecutor(1) as pool:
        with store.transaction():
            store.samples.add([sample("s")])
            waiting = pool.submit(store.samples.add, [sample("s", run_id="other")])
            time.sleep(0.1)
            assert not waiting.done()
        waiting.result(SOON)
    assert [[found.id for found in store.samples.of_run(run)] for run in ("run", "other")] == [["s"], ["s"]]


def test_the_same_request_at_the_same_time_makes_one_run(store: Store):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: store.runs.create("ppo", "{}", "k", "request"), range(24)))
    assert len({run.id for run in runs}) == 1
    assert len(store.events.of_run(runs[0].id)) == 1


def test_the_same_label_request_at_the_same_time_is_one_label(store: Store):
    store.comparisons.add([comparison()])
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: store.preferences.submit(preference("p"), "request"), range(24)))
    assert given == [preference("p")] * 24
    assert store.preferences.find() == [preference("p")]


def test_labelers_who_ask_at_the_same_time_are_given_different_pairs(store: Store):
    store.comparisons.add([comparison(f"c{number}") for number in range(24)])

    def ask(number: int) -> list[str]:
        asked = store.comparisons.upcoming(f"human:{number}", "harmless", count=3, lease_seconds=60.0)
        return [pair.id for pair in asked]

    with ThreadPoolExecutor(8) as pool:
        given = [pair for pairs in pool.map(ask, range(8)) for pair in pairs]
    assert len(given) == len(set(given)) == 24


def test_a_claim_does_not_wait_for_a_run_that_another_is_about_to_take(store: Store):
    first, second = (store.runs.create("ppo", "{}", "k", "") for _ in range(2))
    with ThreadPoolExecutor(1) as pool, store.transaction(first.id):
        claimed = pool.submit(store.runs.claim, "elsewhere:1:1", 60.0).result(SOON)
        assert claimed is not None and claimed.id == second.id
        assert pool.submit(store.runs.claim, "elsewhere:1:1", 60.0).result(SOON) is None
    claimed = store.runs.claim("elsewhere:1:1", 60.0)
    assert claimed is not None and claimed.id == first.id


def test_a_fence_holds_to_the_end_of_its_transaction(store: Store):
    run = store.runs.create("ppo", "{}", "k", "")
    mine = store.runs.claim("elsewhere:1:1", -1.0)
    assert mine is not None
    with ThreadPoolExecutor(1) as pool:
        with store.transaction(run.id, mine.fence):
            # Its lease has run out, and still nobody takes it from a transaction that has begun.
            assert pool.submit(store.runs.claim, "elsewhere:2:2", 60.0).result(SOON) is None
            store.samples.add([sample("last", run_id=run.id)])
        taken = pool.submit(store.runs.claim, "elsewhere:2:2", 60.0).result(SOON)
    assert taken is not None and taken.fence == mine.fence + 1
    assert [found.id for found in store.samples.of_run(run.id)] == ["last"]


def test_a_run_is_deleted_only_when_nobody_else_writes(store: Store):
    runs = [store.runs.create("ppo", "{}", "k", "") for _ in range(2)]
    store.samples.add([sample("shared", run_id=runs[0].id)])
    store.runs.cancel(runs[0].id)
    with ThreadPoolExecutor(1) as pool:
        with store.transaction():
            store.samples.add([sample("shared", run_id=runs[1].id)])
            deleting = pool.submit(store.deletion.delete, runs[0].id)
            time.sleep(0.2)
            assert not deleting.done()
        assert "samples" not in deleting.result(SOON).rows
    assert [found.id for found in store.samples.of_run(runs[1].id)] == ["shared"]


def test_who_waits_in_a_circle_is_told_to_try_again_and_the_other_goes_on(url: str):
    both = threading.Barrier(2)

    def lock(names: tuple[str, str]) -> str:
        with connections.write():
            connections.lock(names[0])
            both.wait()
            connections.lock(names[1])
        return "done"

    with closing(connect_to(url)) as connections, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(lock, names) for names in (("a", "b"), ("b", "a"))]
        errors = [future.exception(SOON) for future in waiting]
    assert [type(error) for error in errors if error] == [Interrupted]


def test_leases_go_by_the_clock_of_the_database(store: Store, monkeypatch: pytest.MonkeyPatch):
    run = store.runs.create("ppo", "{}", "k", "")
    assert store.runs.claim("elsewhere:1:1", 60.0) is not None
    for module in ("runs", "row_mapping"):
        monkeypatch.setattr(f"rlhf_core.store.{module}.now", lambda: "2999-01-01T00:00:00.000000Z")
    assert store.runs.claim("elsewhere:2:2", 60.0) is None
    assert not store.runs.get(run.id).lost


@pytest.mark.slow
def test_a_worker_of_another_host_that_is_gone_is_noticed_by_its_lease_alone(store: Store, tmp_path: Path):
    run = store.runs.create("ppo", "{}", "k", "")
    elsewhere = """if True:
        import socket, sys
        socket.gethostname = lambda: "elsewhere"
        from pathlib import Path
        from rlhf_core.store.store import Store
        from rlhf_core.store.workers import this_process
        print(Store.open(Path(sys.argv[1])).runs.claim(this_process(), 2.0).fence, flush=True)
        sys.stdin.read()"""
    command = [sys.executable, "-c", elsewhere, str(tmp_path / "store")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "1\n"
        other.kill()
    assert store.runs.claim(this_process(), 60.0) is None
    assert not store.runs.get(run.id).lost
    deadline = time.monotonic() + SOON
    while (taken := store.runs.claim(this_process(), 60.0)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (taken.id, taken.fence, taken.attempt) == (run.id, 2, 2)
    assert not store.runs.heartbeat(run.id, 1, 60.0)


def test_a_server_that_is_killed_and_comes_back_has_all_that_was_acknowledged(own_server: Server, tmp_path: Path):
    with closing(Store.open(tmp_path, Place(database=own_server.url("postgres")))) as store:
        run = store.runs.create("ppo", "{}", "k", "")
        store.comparisons.add([comparison()])
        for number in range(5):
            store.preferences.submit(preference(str(number), objective=str(number)), str(number))
        with pytest.raises(Interrupted), store.transaction(run.id):
            store.events.append(run.id, "note", "{}")
            own_server.kill()
            store.events.append(run.id, "note", "{}")
        own_server.start()
        assert len(store.preferences.find()) == 5
        assert [event.kind for event in store.events.of_run(run.id)] == ["state"]
        assert store.events.append(run.id, "note", "{}").sequence == 2


@pytest.mark.slow
def test_a_server_that_is_killed_again_and_again_loses_and_doubles_no_label_of_writers_elsewhere(
    own_server: Server, tmp_path: Path
):
    place = Place(database=own_server.url("postgres"))
    with closing(Store.open(tmp_path, place)) as store:
        store.comparisons.add([comparison()])
    writers = [start("labels", tmp_path) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline()
    for _ in range(4):
        time.sleep(0.4)
        own_server.kill()
        own_server.start()
    time.sleep(0.5)
    acknowledged: list[str] = []
    for writer in writers:
        writer.kill()
        assert writer.stdout is not None
        output = writer.stdout.read()
        writer.wait()
        acknowledged += output[: output.rfind("\n") + 1].split()
    with closing(Store.open(tmp_path)) as store:
        stored = [label.id for label in store.preferences.find()]
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored) and len(acknowledged) > 20


@pytest.mark.slow
def test_a_call_waits_for_a_server_that_restarts(own_server: Server, tmp_path: Path):
    with closing(Store.open(tmp_path, Place(database=own_server.url("postgres")))) as store:
        run = store.runs.create("ppo", "{}", "k", "")
        for call in (lambda: store.runs.get(run.id).id, lambda: store.runs.update(run.id, {"note": "n"}).id):
            own_server.stop()
            later = threading.Timer(1.0, own_server.start)
            later.start()
            assert call() == run.id
            later.join()


@pytest.mark.slow
def test_queued_runs_are_told_at_once_also_after_the_server_was_away(own_server: Server, tmp_path: Path):
    with closing(Store.open(tmp_path, Place(database=own_server.url("postgres")))) as store:
        woken = threading.Event()
        assert store.runs.on_queued(woken.set)
        assert woken.wait(SOON), "when it begins to listen"
        for away in (False, True):
            if away:
                own_server.stop()
                own_server.start()
                assert woken.wait(SOON), "something may have been missed"
            woken.clear()
            begun = time.monotonic()
            store.runs.create("ppo", "{}", "k", "")
            assert woken.wait(SOON)
            assert time.monotonic() - begun < 1.0
            woken.clear()
            assert not woken.wait(0.2)


@pytest.mark.parametrize("text", ["\0", "a\0\0b\0", "\\u0000", "\\\0\\\\u0000\0", "\ufdd0\0\ufdd00"])
def test_json_is_read_though_a_text_in_it_holds_nul(url: str, text: str):
    with closing(connect_to(url)) as connections:
        connections.migrate()
        whole, each = to_json({"said": text, "by": "us"}), to_json([text, "b"])
        query = "SELECT json_extract(?, '$.said') AS said, json_extract(?, '$.by') AS by"
        assert connections.rows(query, [whole, whole]) == [{"said": text, "by": "us"}]
        for given in (each, to_json({"x": text, "y": "b"})):
            assert [row["value"] for row in connections.rows("SELECT value FROM json_each(?)", [given])] == [text, "b"]


def test_texts_are_ordered_by_their_bytes_whatever_the_database_s_language(postgres: Server, tmp_path: Path):
    place = Place(database=postgres.database("LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C.UTF-8'"))
    with closing(Store.open(tmp_path, place)) as store:
        for alias in ("ä", "a", "B"):
            store.aliases.promote(alias, "base", "ada", "", "")
        assert list(store.aliases.holders()) == ["B", "a", "ä"]


def test_a_database_of_another_encoding_is_refused(postgres: Server):
    with pytest.raises(InvalidInput, match="LATIN1"):
        connect_to(postgres.database("ENCODING 'LATIN1' LOCALE 'C'"))


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("mysql://host/db", InvalidInput),
        ("postgresql://ada:secret@127.0.0.1:1/db", Unavailable),
        ("postgresql://ada:secret@host/db?nonsense=1", InvalidInput),
        ("postgresql://ada@127.0.0.1:1/db?password=secret", Unavailable),
        ("mysql://ada:secret@host/db?password=secret", InvalidInput),
        ("postgresql://ada:se%zzcret@host/db", InvalidInput),
        ("postgresql://ada:sec/secret@host/db", InvalidInput),
        ("postgresql://ada:secret@[::1/db", InvalidInput),
        ("host=db user=ada password=secret", InvalidInput),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(url: str, error: type[Exception]):
    with pytest.raises(error) as raised:
        connect_to(url)
    assert not any(part in str(raised.value) for part in ("secret", "zzcret", "ada:"))


def test_a_missing_database_and_a_forbidden_schema_are_named(postgres: Server, url: str):
    with pytest.raises(Unavailable, match="missing"):
        connect_to(postgres.url("missing"))
    postgres.do("CREATE ROLE guest LOGIN")
    place = postgres.url("postgres").replace("charter@", "guest@")
    with closing(connect_to(place)) as guest, pytest.raises(Unavailable, match="permission denied"):
        guest.migrate()


def test_a_folder_remembers_its_database_and_is_given_no_other(postgres: Server, url: str, tmp_path: Path):
    with closing(Store.open(tmp_path, Place(database=url))) as store:
        run = store.runs.create("ppo", "{}", "k", "")
    with closing(Store.open(tmp_path)) as store:
        assert store.runs.get(run.id) == run
    assert not (tmp_path / "charter.db").exists()
    assert (tmp_path / "store.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Conflict, match="charter store copy"):
        Store.open(tmp_path, Place(database=postgres.empty()))
    Store.open(tmp_path / "other").close()
    with pytest.raises(Conflict, match="in the folder itself"):
        Store.open(tmp_path / "other", Place(database=url))


def test_a_new_password_is_taken_over(tmp_path: Path):
    old, new = (Place(database=f"postgresql://ada:{word}@host/db") for word in ("old", "new"))
    use(tmp_path, old)
    assert settle(tmp_path, new) == new
    assert told(new.database) == "postgresql://host/db"


def test_a_place_that_could_not_be_opened_is_not_kept_by_a_new_folder(url: str, tmp_path: Path):
    for wrong in (Place(artifacts="s33://bucket/x"), Place(database="postgresql://127.0.0.1:1/charter")):
        with pytest.raises((InvalidInput, Unavailable)):
            Store.open(tmp_path / "store", wrong)
        assert not (tmp_path / "store" / "store.json").exists()
    with closing(Store.open(tmp_path / "store", Place(database=url))) as store:
        assert store.runs.page(1) == ([], "")


def test_passwords_of_any_kind_are_left_out_of_what_is_told():
    for word in ("secret", "se#cret", "se?cret", "se/cret", "se@cret"):
        assert told(f"postgresql://ada:{word}@host/db") == "postgresql://host/db"
    assert told("host=db password=secret user=ada") == "host=db password=... user=ada"


def test_a_store_keeps_to_its_own_schema_on_a_path_of_several(postgres: Server, url: str):
    with closing(connect_to(url)) as first:
        first.migrate()
        with first.write() as connection:
            connection.execute("INSERT INTO prompts VALUES ('p', '[]', 'train', '', '[]', 'now')")
        [own] = first.rows("SELECT current_schema() AS name")
    postgres.do("CREATE SCHEMA team_b")
    with closing(connect_to(postgres.url("postgres", f"team_b,{own['name']}"))) as second:
        second.migrate()
        assert second.rows("SELECT id FROM prompts") == []
        own_tables = "SELECT 1 AS one FROM information_schema.tables WHERE table_schema = 'team_b'"
        assert second.rows(f"{own_tables} AND table_name = 'prompts'")


def test_a_transaction_that_idles_too_long_is_told_as_interrupted(url: str):
    with closing(connect_to(url)) as connections, pytest.raises(Interrupted), connections.write() as connection:
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = '100ms'")
        time.sleep(0.5)
        connection.execute("SELECT 1")


def columns(connections: Connections) -> list[str]:
    what = "table_name, column_name, data_type, collation_name, is_nullable, column_default"
    sql = f"""SELECT concat_ws(' ', {what}) AS told
        FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY 1"""
    return [row["told"] for row in connections.rows(sql)]


def test_an_older_store_is_brought_up_to_date_and_a_newer_one_refused(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    older, url = Migrations("charter"), postgres.empty()
    older._migrations = charter._migrations[:5]
    with closing(connect_to(url)) as connections, closing(connect_to(postgres.empty())) as fresh:
        with monkeypatch.context() as patch:
            patch.setattr(postgres_schema, "charter", older)
            connections.migrate()
            with connections.write() as connection:
                for name in "ab":
                    connection.execute("INSERT INTO prompts VALUES (?, '[]', 'train', '', '[]', 'now')", [name])
        assert connections.tables_with("calibration_id") == []
        connections.migrate()
        fresh.migrate()
        assert columns(connections) == columns(fresh)
        assert [row["id"] for row in connections.rows("SELECT id FROM prompts ORDER BY rowid")] == ["a", "b"]
        assert connections.tables_with("calibration_id") == ["preferences"]
        with connections.write() as connection:
            connection.execute("INSERT INTO charter_migrations VALUES ('m999_future', 'later')")
        with pytest.raises(Conflict, match=r"newer Charter .*m999_future"):
            connections.migrate()
