"""The view's process: one for each database (view-8)."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client import CollectorRegistry

from kantor.errors import KantorError, RegistryUnavailableError
from kantor.testing import MemoryBroker
from kantor_orchestrator.formats import topics
from kantor_orchestrator.process import wellness as wellness_module
from kantor_orchestrator.process.wellness import Wellness
from kantor_orchestrator.running.roles import view as view_role
from kantor_orchestrator.view import role
from kantor_orchestrator.view.database import InUseError, ViewWriter
from kantor_orchestrator.view.metrics import CensusMetrics, ViewMetrics
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.sql import ReplacedError, ViewUnavailableError
from waiting import PATIENCE

if TYPE_CHECKING:
    from kantor_orchestrator.config import Settings


def test_the_database_is_taken_over_once_the_process_before_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart need not wait for the last process's very end."""
    monkeypatch.setattr(role, "HANDOVER", PATIENCE)
    before = ViewWriter(tmp_path / "view.db")
    threading.Timer(0.3, before.close).start()
    after = role._take(tmp_path / "view.db", threading.Event())
    assert after is not None
    after.close()


def test_who_is_told_to_stop_does_not_wait_for_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C works at any time."""
    monkeypatch.setattr(role, "HANDOVER", PATIENCE)
    before = ViewWriter(tmp_path / "view.db")
    stop = threading.Event()
    stop.set()
    assert role._take(tmp_path / "view.db", stop) is None
    before.close()


def test_a_database_that_stays_in_use_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two views of one database would do everything twice."""
    monkeypatch.setattr(role, "HANDOVER", 0.1)
    before = ViewWriter(tmp_path / "view.db")
    with pytest.raises(InUseError, match="another process"):
        role._take(tmp_path / "view.db", threading.Event())
    before.close()


@pytest.mark.parametrize(
    ("topic", "is_read"),
    [
        ("sys.kantor.journal", True),
        ("sys.kantor.history", True),
        ("sys.kantor.state", False),
        ("cmd.payment.v1", True),
        ("cmd.kantor.v1", False),  # intake journals it
        ("evt.payment.payment.v1", False),
    ],
)
def test_journal_history_and_commands_are_read(topic: str, is_read: bool) -> None:
    """Events come by the journal."""
    assert role.is_ours(topic) is is_read


@pytest.mark.parametrize(
    ("again", "is_empty", "is_complete"),
    [
        ([], False, True),
        (["cmd.payment.v1"], False, True),
        ([topics.JOURNAL, topics.HISTORY, "cmd.payment.v1"], True, True),
        ([topics.HISTORY], True, False),
        ([topics.JOURNAL], True, False),
    ],
)
def test_what_was_read_of_a_topic_that_was_recreated_is_forgotten(
    tmp_path: Path, again: list[str], is_empty: bool, is_complete: bool
) -> None:
    """The view is projected again from what there is; where only one of journal and history begins again, it says since when it is
    complete."""
    ids = dict.fromkeys([topics.JOURNAL, topics.HISTORY, "cmd.payment.v1"], "one")
    database, before = ViewWriter(tmp_path / "view.db"), int(time.time() * 1000)
    database.reached({(name, 0): 17 for name in ids}, ids)
    role.forget_others(database, ids | dict.fromkeys(again, "another"))
    left = {topic for topic, _ in database.positions()}
    assert left == (set() if is_empty else ids.keys() - set(again))
    assert (database.complete_from() == 0) is is_complete
    assert is_complete or database.complete_from() >= before
    database.close()


@pytest.mark.parametrize("looks_between", [True, False])
def test_a_topic_that_is_gone_for_a_while_may_come_back_as_another(
    tmp_path: Path, looks_between: bool
) -> None:
    """Also where somebody has looked while there was none: else its positions would be taken for the new one's, and what lies
    before them would never be shown."""
    broker = MemoryBroker()
    specs = {spec.name: spec for spec in topics.specs(1, 1 << 20)}
    broker.clients().admin().create_topics(list(specs.values()))
    settings = cast("Settings", SimpleNamespace(kafka=broker.clients(), registry_url=""))
    registry, database = CollectorRegistry(), ViewWriter(tmp_path / "view.db")
    projection = role._Projection(
        settings, database, ViewMetrics(registry), CensusMetrics(registry), Wellness()
    )
    projection._open(frozenset())
    projection._look()
    del broker.topics[topics.HISTORY]
    if looks_between:
        projection._look()
    broker.create_topic(specs[topics.HISTORY])
    with pytest.raises(KantorError, match=f"{topics.HISTORY} was recreated"):
        projection._look()
    projection._consumer.close()
    database.close()


def test_a_registry_that_refuses_is_waited_for_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The view does not end for it; after ten seconds it is not ready, and says why."""
    now, lives, told = [0.0], [], []

    class Projection:
        def __init__(self, *_: object) -> None:
            lives.append(now[0])

        def run(self, *_: object) -> None:
            now[0] += 1
            raise RegistryUnavailableError("403 at GET /schemas/ids/7")

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now[0] += timeout or 0
            told.append(wellness.waits())
            if len(lives) == 8:
                self.set()
            return False

    wellness = Wellness(lambda: now[0])
    monkeypatch.setattr(role, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(role, "_take", lambda *_: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(role, "_Projection", Projection)
    settings = cast("Settings", SimpleNamespace(view_url=""))
    registry = CollectorRegistry()
    role.run_view(settings, Stop(), lambda: None, ViewMetrics(registry), CensusMetrics(registry), wellness)
    assert (len(lives), told[0]) == (8, [])
    assert told[-1] == ["the view restarts: 403 at GET /schemas/ids/7, for 15 s"]


def test_trouble_that_is_over_at_once_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild puts another view in the place of ours, or the server ends our session: the next life is well before anybody is told."""
    assert role.WELL < wellness_module.PATIENCE < role.CALM
    now, lives = [0.0], [0]

    class Projection:
        def __init__(self, *_: object) -> None:
            lives[0] += 1

        def run(self, stop: threading.Event, *_: object) -> None:
            now[0] += 20
            if lives[0] == 3:
                stop.set()
                return
            raise ReplacedError("the view has been rebuilt: going on with the new one")

    wellness = Wellness(lambda: now[0])
    monkeypatch.setattr(role, "AGAIN", 0)
    monkeypatch.setattr(role, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(role, "_take", lambda *_: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(role, "_Projection", Projection)
    settings = cast("Settings", SimpleNamespace(view_url=""))
    registry = CollectorRegistry()
    stop = threading.Event()
    role.run_view(settings, stop, lambda: None, ViewMetrics(registry), CensusMetrics(registry), wellness)
    assert (lives[0], wellness.waits()) == (3, [])


def test_a_database_that_can_not_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the start on, and with the reason: a server that is away, say."""
    told, stop = list[str](), threading.Event()

    def refuse(_: object) -> None:
        if len(told) == 2:
            stop.set()
        raise ViewUnavailableError("it does not answer")

    monkeypatch.setattr(role, "ViewWriter", refuse)
    monkeypatch.setattr(role, "_AGAIN_SERVER", 0)
    assert role._take("postgresql://u@h/db", stop, telling=told.append) is None
    assert set(told) == {"waits for its database: it does not answer"}


def test_a_view_that_begins_again_and_again_keeps_its_metrics(tmp_path: Path) -> None:
    """A role has one registry: what a damaged file, or a full disk, ends is begun again by the same process."""
    (tmp_path / "view.db").write_bytes(b"no database" * 1_000)
    settings = cast("Settings", SimpleNamespace(view_url=f"sqlite:///{tmp_path}/view.db"))
    live = view_role(settings, 1, CollectorRegistry(), Wellness())
    for _ in range(2):
        with pytest.raises(KantorError, match="delete it"):
            live(threading.Event(), lambda: None)


def test_a_file_that_is_deleted_while_it_is_in_use_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the view would write, for good, into a file that nobody can open; and say that it is well."""
    path, stop, files = tmp_path / "home" / "view.db", threading.Event(), list[int]()

    class Projection:
        def __init__(self, _: object, database: ViewWriter, *__: object) -> None:
            self._database = database

        def run(self, *_: object) -> None:
            self._database.alive(1, 1)
            files.append(path.stat().st_ino)
            if len(files) == 2:
                stop.set()
                return
            path.rename(tmp_path / "deleted")
            self._database.alive(1, 1)

    monkeypatch.setattr(role, "_Projection", Projection)
    monkeypatch.setattr(role, "AGAIN", 0)
    settings = cast("Settings", SimpleNamespace(view_url=f"sqlite:///{path}"))
    registry = CollectorRegistry()
    role.run_view(settings, stop, lambda: None, ViewMetrics(registry), CensusMetrics(registry))
    assert len(set(files)) == 2
    with View(path) as view:
        assert view.seen()["view"]
