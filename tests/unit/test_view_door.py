"""The view's door: nothing that lies in its topics ends it, and what it can't use is counted and said (view-6)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Self, cast

import pytest
from click.testing import CliRunner

from kantor.envelope import unreadable
from kantor.errors import ConfigError, KafkaUnavailableError, KantorError
from kantor_orchestrator.cli import status
from kantor_orchestrator.cli.main import main
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.operations.condition import Condition, Role, inspect
from kantor_orchestrator.view.database import ViewWriter
from kantor_orchestrator.view.projector import Projector
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.sql import NoViewError, ViewUnavailableError, ViewUnopenableError
from view_records import Written
from view_saga import CHECKOUT
from view_traffic import T0, KnownSagas, Traffic, project

if TYPE_CHECKING:
    from kantor_orchestrator.config import Settings

_EVENT: list[tuple[str, bytes | None]] = [(journal.ENTRY, journal.EVENT), ("ce_type", b"a.B")]
_OURS: list[tuple[str, bytes | None]] = [("ce_source", b"kantor"), ("ce_correlationid", b"no transaction!")]


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(Written(topics.JOURNAL, 0, 0, b"tx", b"", [], T0), id="no-entry"),
        pytest.param(Written(topics.JOURNAL, 0, 0, b"tx", b"", unreadable("no UTF-8"), T0), id="headers"),
        pytest.param(Written(topics.JOURNAL, 0, 0, b"\xff\0", b"", _EVENT, T0), id="no-transaction"),
        pytest.param(Written(topics.JOURNAL, 0, 0, b"x" * 1_000, b"", _EVENT, T0), id="endless-key"),
        pytest.param(
            Written(topics.WATERMARKS, 0, 0, b"mark/intake-1", b"no", [], T0),
            id="watermark",
        ),
        pytest.param(Written(topics.HISTORY, 0, 0, b"tx", None, [], T0), id="tombstone"),
        pytest.param(Written(topics.HISTORY, 0, 0, b"tx", b"{}", [], T0), id="foreign"),
        pytest.param(Written("cmd.a.v1", 0, 0, b"tx", b"", _OURS, T0), id="spoofed-command"),
    ],
)
def test_what_is_none_of_the_platforms_is_passed_over_and_said(
    record: Written, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, and the log names the first of them with its place."""
    traffic = Traffic()
    projector = Projector(traffic.codec, traffic.schemas, KnownSagas(CHECKOUT), lambda _: None, 1, {})
    with caplog.at_level(logging.ERROR):
        changes = projector.project([record])
    assert (changes.unreadable, changes.transactions) == (1, [])
    assert changes.positions == {(record.topic(), 0): 1}
    assert f"{record.topic()}/0/0: " in caplog.text


def test_old_history_of_an_unknown_schema_is_passed_over_at_once() -> None:
    """Its schema had its time to come: each of many such records would hold the picture back by half a minute."""
    traffic = Traffic()
    record = Written(topics.HISTORY, 0, 0, b"tx", b"\0\0\0\0\x07rubbish", [], T0)
    sagas = KnownSagas(CHECKOUT)
    projector = Projector(traffic.codec, traffic.schemas, sagas, lambda _: None, 1, {}, patient_since=T0)
    assert projector.project([record]).unreadable == 1


@pytest.mark.parametrize("sent_at", ["1790000000000000", "-1", "0", "9" * 30, "soon", "1790000000000000000"])
def test_strange_times_are_shown_not_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent_at: str
) -> None:
    """Microseconds as a timestamp are the year 59009; in the terminal, as JSON and in lists."""
    traffic = Traffic()
    traffic.order("tx")
    (entry,) = [record for record in traffic.records if record.topic() == topics.JOURNAL]
    headers = [(n, v) for n, v in entry.headers() or [] if n != journal.TIMESTAMP]
    strange = Written(
        entry.topic(), entry.partition(), entry.offset(), entry.key(), entry.value(),
        [*headers, (journal.TIMESTAMP, sent_at.encode())], entry.timestamp()[1],
    )  # fmt: skip
    others = [record for record in traffic.records if record is not entry]
    project(traffic, tmp_path / "view.db", [strange, *others])
    monkeypatch.setenv("KANTOR_VIEW_URL", f"sqlite:///{tmp_path / 'view.db'}")
    for arguments in (["trace", "tx"], ["trace", "tx", "--json"], ["list"], ["list", "--json"]):
        found = CliRunner().invoke(main, arguments)
        assert found.exit_code == 0, found.output


def test_a_transaction_of_a_strange_time_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker's clock, or a command's timestamp, may be anything."""
    traffic = Traffic()
    traffic.now = 1_790_000_000_000_000
    traffic.compensated("tx")
    project(traffic, tmp_path / "view.db")
    monkeypatch.setenv("KANTOR_VIEW_URL", f"sqlite:///{tmp_path / 'view.db'}")
    found = CliRunner().invoke(main, ["trace", "tx", "--json"])
    assert json.loads(found.stdout)["started_at"].startswith("+58")
    for arguments in (["trace", "tx"], ["list"]):
        assert CliRunner().invoke(main, arguments).exit_code == 0


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A place where no view can be."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "view.db"


def test_a_folder_that_can_not_be_written_is_named_with_the_remedy(closed: Path, tmp_path: Path) -> None:
    """The process of the view ends with a sentence; nothing is gained by trying again."""
    with pytest.raises(ViewUnopenableError, match=f"{closed.parent}.*KANTOR_VIEW_URL"):
        ViewWriter(closed)
    with pytest.raises(ViewUnopenableError, match="can't be opened"):
        View(tmp_path)  # a folder
    assert issubclass(ViewUnopenableError, ConfigError)


@pytest.mark.parametrize("command", [["list"], ["trace", "tx"], ["incidents"]])
def test_commands_say_that_the_view_can_not_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """With the folder and what to do, and the exit code of a wrong setting."""
    monkeypatch.setenv("KANTOR_VIEW_URL", f"sqlite:///{tmp_path}")
    found = CliRunner().invoke(main, command)
    assert found.exit_code == 2
    assert "can't be opened" in found.output
    assert str(tmp_path.parent) in found.output


class Silent:
    """A cluster of which nothing but its address is known."""

    bootstrap_servers = "broker:9092"

    def admin(self, _client_id: str) -> object:
        raise KafkaUnavailableError("nobody answers")


class Trouble:
    """A view that can be opened, and can't be read."""

    def __init__(self, error: KantorError) -> None:
        self._error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def counts(self) -> dict[tuple[str, str], int]:
        raise self._error


@pytest.mark.parametrize(
    "error", [ViewUnavailableError, ViewUnopenableError, NoViewError, KantorError, ConfigError]
)
@pytest.mark.parametrize("opens", [True, False])
def test_the_status_is_told_whatever_is_wrong_with_the_view(error: type[KantorError], opens: bool) -> None:
    """Broker and roles have nothing to do with it: a server that is away, a damaged file, another version, a lock."""

    def view() -> View:
        if opens:
            return cast("View", Trouble(error("the view is ill")))
        raise error("the view is ill")

    found = inspect(cast("Settings", SimpleNamespace(kafka=Silent(), home=Path("nowhere"))), view)
    assert (found.view_error, found.broker_error) == ("the view is ill", "nobody answers")


def test_what_is_wrong_with_the_view_is_among_the_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kantor status` asks the view first, and everybody else all the same."""
    monkeypatch.setenv("KANTOR_VIEW_URL", f"sqlite:///{tmp_path}")
    monkeypatch.setenv("KANTOR_BOOTSTRAP_SERVERS", "broker:9092")

    def inspected(_: object, open_view: Callable[[], View]) -> Condition:
        with pytest.raises(ViewUnopenableError) as raised:
            open_view()
        return Condition("broker:9092", roles=[Role("view", True, {}, 0)], view_error=str(raised.value))

    monkeypatch.setattr(status, "inspect", inspected)
    found = CliRunner().invoke(main, ["status"])
    assert found.exit_code == 0, found.output
    assert "can't be opened" in " ".join(found.output.split())


def test_a_url_that_is_none_is_a_wrong_setting_for_the_status_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the view's trouble; nobody is asked."""
    monkeypatch.setenv("KANTOR_VIEW_URL", "mysql://there")
    monkeypatch.setenv("KANTOR_BOOTSTRAP_SERVERS", "broker:9092")
    found = CliRunner().invoke(main, ["status"])
    assert (found.exit_code, "KANTOR_VIEW_URL" in found.output) == (2, True)
