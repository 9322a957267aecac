"""The view on PostgreSQL: what is of a server alone. The rest is in the files ``test_view_*_on_postgresql.py``."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest

from kantor.errors import ConfigError, KantorError
from kantor_orchestrator.view import role
from kantor_orchestrator.view.database import TABLES, Location, ViewWriter, beside
from kantor_orchestrator.view.postgresql import PostgresDatabase, without_password
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.sql import (
    InUseError,
    NoViewError,
    ReplacedError,
    ViewUnavailableError,
)
from kantor_orchestrator.view.sqlite import SqliteDatabase
from view_places import Places, Postgres
from view_traffic import Traffic, project

_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test_view' AND pid <> pg_backend_pid()"


@pytest.fixture
def url(places: Places) -> str:
    """A view with one completed checkout."""
    url = str(places("view"))
    traffic = Traffic()
    traffic.completed("tx-1")
    project(traffic, url)
    return url


def test_the_next_replica_writes_once_the_first_has_lost_its_session(url: str, postgresql: Postgres) -> None:
    """Its lock belongs to its session; and it can't write any more, though it does not know yet."""
    first = ViewWriter(url)
    with pytest.raises(InUseError, match="another process"):
        ViewWriter(url)
    postgresql.execute(_END, "test_view")
    second = ViewWriter(url)
    with pytest.raises(ViewUnavailableError, match="session is lost"):
        first.alive(0)
    with pytest.raises(ViewUnavailableError, match="session is lost"):
        first.positions()
    second.alive(7)
    second.close()
    with View(url) as view:
        assert view.seen()["intake"] == 7


def test_a_writer_that_can_not_begin_holds_nothing(url: str, postgresql: Postgres) -> None:
    """The next one gets the lock at once."""
    postgresql.execute("ALTER TABLE kantor_view.about RENAME TO elsewhere", "test_view")
    with pytest.raises(ReplacedError):
        ViewWriter(url)
    postgresql.execute("ALTER TABLE kantor_view.elsewhere RENAME TO about", "test_view")
    ViewWriter(url).close()


def test_a_replica_waits_for_its_turn_and_is_well_meanwhile(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long another one writes."""
    monkeypatch.setattr(role, "HANDOVER", 0.0)
    monkeypatch.setattr(role, "_AGAIN_SERVER", 0.05)
    first = ViewWriter(url)
    waits, stop, taken = threading.Event(), threading.Event(), list[ViewWriter | None]()
    thread = threading.Thread(target=lambda: taken.append(role._take(url, stop, waits.set)))
    thread.start()
    assert waits.wait(30)
    assert taken == []
    first.close()
    thread.join(30)
    (second,) = taken
    assert second is not None
    second.close()


def test_a_server_that_is_away_is_waited_for_until_told_to_stop(caplog: pytest.LogCaptureFixture) -> None:
    """The log says for what."""
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    assert role._take("postgresql://u:secret@127.0.0.1:1/db", stop) is None
    (line,) = caplog.messages
    assert "127.0.0.1:1/db does not answer" in line
    assert "secret" not in line


def test_readers_open_a_lost_session_anew(url: str, postgresql: Postgres) -> None:
    """After a restart of the server the pages go on."""
    with View(url) as view:
        postgresql.execute(_END, "test_view")
        with pytest.raises(ViewUnavailableError):
            view.find("tx-1")
        assert view.find("tx-1") == ["tx-1"]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("postgresql://nobody@{host}", 'role "nobody" does not exist'),
        ("postgresql://locked:wrong@{host}", "password"),
        ("postgresql://postgres@{host}&dbname=nowhere", 'database "nowhere" does not exist'),
        ("postgresql://postgres@{host}&nonsense=1", "nonsense"),
    ],
)
def test_a_wrong_url_is_named_with_the_remedy(postgresql: Postgres, wrong: str, problem: str) -> None:
    """And the password is not in the message."""
    if not postgresql.execute("SELECT 1 FROM pg_roles WHERE rolname = 'locked'"):
        postgresql.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
        (hba,) = postgresql.execute("SHOW hba_file")[0]
        rules = Path(str(hba))
        rules.write_text("local all locked scram-sha-256\n" + rules.read_text())
        before = postgresql.execute("SELECT pg_conf_load_time()")
        postgresql.execute("SELECT pg_reload_conf()")
        while postgresql.execute("SELECT pg_conf_load_time()") == before:
            pass  # until the server has read them
    host = postgresql.url("postgres").partition("@")[2]
    with pytest.raises(ConfigError, match="KANTOR_VIEW_URL") as raised:
        ViewWriter(wrong.format(host=host))
    assert problem in str(raised.value)
    assert "wrong@" not in str(raised.value)


def test_a_server_that_takes_no_writes_is_looked_for_anew(url: str, postgresql: Postgres) -> None:
    """It has become a standby, say: the session is given up, with its lock, and the next one may be with the primary."""
    first = ViewWriter(url)
    first.database.rows("SELECT set_config('default_transaction_read_only', 'on', false)")
    with pytest.raises(ViewUnavailableError, match=r"takes no writes .*standby.*target_session_attrs"):
        first.alive(1)
    ViewWriter(url).close()
    postgresql.execute("ALTER DATABASE test_view SET default_transaction_read_only = on")
    try:
        with pytest.raises(ViewUnavailableError, match="takes no writes"):
            ViewWriter(url)
        with View(url) as view:
            assert view.find("tx-1") == ["tx-1"]
    finally:
        postgresql.execute("ALTER DATABASE test_view RESET default_transaction_read_only")


@pytest.mark.parametrize(
    "says",
    [
        "FATAL: the database system is starting up",
        "FATAL: das Datenbanksystem startet",
        'FATAL: could not open file "global/pg_filenode.map": No space left on device',
    ],
)
def test_what_a_server_says_while_it_is_in_trouble_is_waited_for(
    says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what it refuses for good ends the view, in whatever language it tells the rest."""

    def connect(*_: object, **__: object) -> None:
        raise psycopg.OperationalError(f"connection failed: {says}")

    monkeypatch.setattr(psycopg, "connect", connect)
    with pytest.raises(ViewUnavailableError, match=r"127.0.0.1:1/db does not answer: .*FATAL"):
        ViewWriter("postgresql://u@127.0.0.1:1/db")


def test_who_may_not_make_the_schema_is_told_what_to_grant(places: Places, postgresql: Postgres) -> None:
    """Nothing was changed."""
    url = str(places("view"))
    if not postgresql.execute("SELECT 1 FROM pg_roles WHERE rolname = 'guest'"):
        postgresql.execute("CREATE ROLE guest LOGIN")
    with pytest.raises(ConfigError, match="GRANT CREATE ON DATABASE"):
        ViewWriter(url.replace("postgres:@", "guest@"))


def test_a_database_that_can_not_hold_every_message_is_refused(postgresql: Postgres) -> None:
    """Emoji, for example."""
    if not postgresql.execute("SELECT 1 FROM pg_database WHERE datname = 'latin'"):
        postgresql.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(ConfigError, match="UTF8"):
        ViewWriter(postgresql.url("latin"))


def test_without_a_schema_there_is_no_view(places: Places) -> None:
    """The message says what to start."""
    with pytest.raises(NoViewError, match="kantor run"):
        View(places("view"))


def test_a_schema_of_a_newer_kantor_is_refused(url: str, postgresql: Postgres) -> None:
    """An older program would misread it."""
    postgresql.execute("INSERT INTO kantor_view.version VALUES (99)", "test_view")
    with pytest.raises(ConfigError, match="newer"):
        ViewWriter(url)
    with pytest.raises(ConfigError, match="another version"):
        View(url)


@pytest.mark.parametrize("id_", ["long-" * 20_000, "nul-\0-nul", "emoji-\U0001f4a5", "שלום-" * 9])
def test_any_text_of_a_message_is_stored_and_found(places: Places, id_: str) -> None:
    """PostgreSQL has no NUL and no long index entries; neither may stop the view. (It notices a NUL once.)"""
    traffic = Traffic()
    traffic.completed(id_)
    url = places("view")
    writer = ViewWriter(url)
    try:
        stored(writer, traffic)
    except KantorError as error:
        assert "NUL" in str(error)
        stored(writer, traffic)
    finally:
        writer.close()
    with View(url) as view:
        (found,) = view.find(id_)
        assert found == id_.replace("\0", "\u2400")
        assert view.trace(id_).status == "completed"
        assert view.find(id_[:7]) == [found]


def stored(writer: ViewWriter, traffic: Traffic) -> None:
    from kantor_orchestrator.view.projector import Projector
    from view_saga import CHECKOUT
    from view_traffic import KnownSagas

    projector = Projector(traffic.codec, traffic.schemas, KnownSagas(CHECKOUT), writer.find, 1, {})
    writer.store(projector.project(traffic.records), {})


def test_both_databases_have_the_same_tables(tmp_path: Path, url: str, postgresql: Postgres) -> None:
    """Migration by migration: a version means the same on both."""
    file = SqliteDatabase.for_writing(tmp_path / "view.db")
    tables = {
        name: [column for (column,) in file.rows(f"SELECT name FROM pragma_table_info('{name}')")]
        for (name,) in file.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")
    }
    file.close()
    columns: dict[str, list[object]] = {}
    for name, column in postgresql.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'kantor_view' AND table_name <> 'version' ORDER BY table_name, ordinal_position",
        "test_view",
    ):
        columns.setdefault(str(name), []).append(column)
    assert columns == tables
    assert set(TABLES) | {"about"} == tables.keys()


def test_a_password_is_in_no_message() -> None:
    """Nor the user."""
    assert without_password("postgresql://u:p@h:99/db?sslmode=require") == "postgresql://h:99/db"
    assert without_password("postgresql://h") == "postgresql://h:5432/"


def replaced(place: Location, traffic: Traffic) -> None:
    """Another view of this traffic, put in this one's place."""
    new = beside(place)
    writer = ViewWriter(new)
    stored(writer, traffic)
    old = PostgresDatabase.for_reading(str(place))
    old.replace_by(new)
    old.close()


def test_a_reader_in_the_middle_sees_the_old_view_to_its_end(url: str) -> None:
    """A switch waits for it, and nobody sees half of both."""
    traffic = Traffic()
    traffic.order("tx-2")
    reader = PostgresDatabase.for_reading(url)
    thread = threading.Thread(target=replaced, args=(url, traffic))
    with reader.snapshot():
        thread.start()
        with psycopg.connect(url, autocommit=True) as other:
            while not other.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
                pass  # until the switch waits for us
        assert reader.rows("SELECT id FROM transactions") == [("tx-1",)]
        assert thread.is_alive()
    thread.join(30)
    assert reader.rows("SELECT id FROM transactions") == [("tx-2",)]
    reader.close()


def test_a_writer_notices_that_its_view_was_replaced(url: str) -> None:
    """What it would have stored is not in the new one; after that it goes on with that one's positions."""
    traffic = Traffic()
    traffic.order("tx-2")
    writer = ViewWriter(url)
    replaced(url, traffic)
    with pytest.raises(ReplacedError):
        writer.alive(5)
    writer.refresh()
    writer.alive(5)
    assert len(writer.positions()) == 2
    writer.close()
