"""A shard works whatever the disk does (shard-11): its store is a cache."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import apsw
import pytest

from kantor_orchestrator.formats import topics, watermarks
from kantor_orchestrator.operations import standing
from kantor_orchestrator.store import Row, StoreFullError, sqlite
from unit.engine_place import CATALOG, Place, start_anew


class Disk:
    """One that takes so many pages of a store, and no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages = 1 << 30
        self._opened = sqlite._opened
        self._files: list[apsw.Connection] = []
        monkeypatch.setattr(sqlite, "_opened", self.opened)
        monkeypatch.setattr("os.posix_fallocate", self.allocate)

    def opened(self, path: str) -> apsw.Connection:
        found = self._opened(path)
        if path != ":memory:":
            found.pragma("max_page_count", self.pages)
            self._files.append(found)
        return found

    def becomes(self, pages: int) -> None:
        self.pages = pages
        for file in self._files:
            try:
                file.pragma("max_page_count", pages)
            except apsw.ConnectionClosedError:
                continue

    def allocate(self, _file: int, _offset: int, size: int) -> None:
        if size > self.pages * 4096:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def begun(folder: Path) -> Place:
    place = Place(folder)
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    return place


def wait_for(place: Place, names: list[str], kind: str) -> None:
    def have_it() -> bool:
        turn(place, 0.5)
        return {id_ for id_, found, _ in place.history() if found == kind}.issuperset(names)

    place.turn_until(have_it)


def start(place: Place, names: list[str]) -> None:
    for name in names:
        place.event(name, "shop.OrderPlaced")
    wait_for(place, names, "started")


def go_on(place: Place, names: list[str]) -> None:
    for name in names:
        place.event(name, "inventory.StockReserved")
    wait_for(place, names, "succeeded")


def turn(place: Place, seconds: float) -> None:
    until = place.broker.clock.monotonic() + seconds
    while place.broker.clock.monotonic() < until:
        place.engine.turn()


def taken(place: Place) -> int:
    """Takings of the shard so far."""
    log = place.broker.topics[topics.HISTORY].logs[0].read(0, 10_000, 1e12, committed=True)[0]
    return sum(dict(record.headers() or ()).get("ce_type") == b"kantor.Epoch" for record in log)


def said(place: Place) -> list[str]:
    """What ``kantor status`` says of it."""
    place.engine._watermarks.producer.flush()
    told = watermarks.read(place.broker.clients(), "test", place.broker.clock)
    found = standing.stand(told, 1, {"engine": [(topics.JOURNAL, 0)]}, place.broker.clock.now())
    return [what for what, _ in standing.problems(found) if "store" in what]


def store_of(place: Place) -> sqlite.SqliteStore:
    store = place.engine._shards[0].transactions._store
    assert isinstance(store, sqlite.SqliteStore)
    return store


NAMES = [f"t-{number}" for number in range(40)]


def test_a_disk_that_is_full_while_a_shard_works(tmp_path: Path, disk: Disk) -> None:
    """It is not retaken, keeps what the disk does not take, says so once, and flushes it when there is room."""
    place = begun(tmp_path)
    start(place, NAMES[:5])
    turn(place, 3)
    disk.becomes(1)
    start(place, NAMES[5:])
    turn(place, 30)
    assert [line for line in said(place) if "full" in line] == said(place) != []
    go_on(place, NAMES)
    assert taken(place) == 1
    disk.becomes(1 << 30)
    turn(place, 30)
    assert said(place) == []
    store = store_of(place)
    assert all(store.load(name) is not None for name in NAMES)
    place.engine.close()


def test_a_disk_that_is_full_when_a_shard_is_taken(tmp_path: Path, disk: Disk) -> None:
    """It is restored into memory; once there is room it is retaken, once, with its store on disk."""
    place = begun(tmp_path)
    start(place, NAMES)
    place.engine.close()
    (tmp_path / "shard-0.db").unlink()
    disk.becomes(5)
    start_anew(place, tmp_path)
    go_on(place, NAMES)
    turn(place, 100)
    assert taken(place) == 2
    assert [line for line in said(place) if "kept in memory" in line] == said(place) != []
    disk.becomes(1 << 30)
    start(place, ["more"])
    turn(place, 70)
    start(place, ["last"])
    turn(place, 70)
    assert (taken(place), said(place)) == (3, [])
    assert store_of(place).is_on_disk
    place.engine.close()


@pytest.mark.parametrize("in_the_way", ["a folder in its place", "a file in the folder's place"])
def test_a_store_that_can_not_be_opened(tmp_path: Path, in_the_way: str) -> None:
    """The shard works from memory, and goes on after a restart."""
    folder = tmp_path / "home"
    if in_the_way == "a folder in its place":
        (folder / "shard-0.db" / "full").mkdir(parents=True)
    else:
        folder.write_text("not a folder")
    place = begun(folder)
    start(place, NAMES)
    place.engine.close()
    start_anew(place, folder)
    go_on(place, NAMES)
    turn(place, 2)
    assert taken(place) == 2
    assert len(said(place)) == 1
    place.engine.close()


def test_a_store_that_is_damaged_in_the_middle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The shard is retaken once, from Kafka, whatever page it stumbles over; nothing is lost."""
    place = begun(tmp_path)
    names = [f"t-{number}" for number in range(300)]
    start(place, names)
    turn(place, 3)
    store_of(place)._db.pragma("wal_checkpoint(truncate)")
    place.engine.close()
    path = tmp_path / "shard-0.db"
    with path.open("r+b") as file:
        pages = path.stat().st_size // 4096
        for page in range(8, pages):
            file.seek(page * 4096)
            file.write(b"\xab" * 4096)
    start_anew(place, tmp_path)
    go_on(place, names)
    assert taken(place) == 3
    assert sum("is damaged" in record.getMessage() for record in caplog.records) == 1
    place.engine.close()


def test_a_transaction_whose_row_is_damaged_is_not_lost(tmp_path: Path) -> None:
    """SQLite has no sums of its own: a bit that flipped within a snapshot was no engine's, and counted for nothing."""
    place = begun(tmp_path)
    start(place, ["t"])
    turn(place, 3)
    place.engine.close()
    file = apsw.Connection(str(tmp_path / "shard-0.db"))
    file.execute("UPDATE snapshots SET snapshot = zeroblob(length(snapshot))")
    file.close()
    start_anew(place, tmp_path)
    go_on(place, ["t"])
    assert taken(place) == 3
    place.engine.close()


def test_why_a_store_can_not_be_written_is_told(tmp_path: Path, disk: Disk) -> None:
    """Not that there was nothing to roll back: SQLite had done so itself."""
    store = sqlite.SqliteStore(tmp_path / "s.db", "topic-id/0", 1e9)
    disk.becomes(1)
    rows: dict[str, Row | None] = {f"t-{n}": (bytes(500), None, None) for n in range(500)}
    with pytest.raises(StoreFullError, match="full"):
        store.flush(rows, 1, 1)
    disk.becomes(1 << 30)
    store.flush(rows, 1, 1)
    assert store.load("t-499") == bytes(500)
