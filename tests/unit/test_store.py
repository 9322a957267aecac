"""The shard's store: a cache that never claims more than what is committed (shard-11)."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest

from kantor_orchestrator.store import StoreLostError
from kantor_orchestrator.store.sqlite import SqliteStore

DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shard-0.db"


def open_store(path: Path, changelog: str = "topic-id/0", max_age: float = DAY) -> SqliteStore:
    return SqliteStore(path, changelog, max_age)


def test_what_was_flushed_is_there_after_opening_again(path: Path) -> None:
    """Snapshots and the changelog position survive a restart together."""
    store = open_store(path)
    store.flush({"a": (b"snapshot", None, None)}, 7, 0)
    store.close()
    again = open_store(path)
    assert (again.load("a"), again.position) == (b"snapshot", 7)


def test_all_stores_of_a_process_share_one_limit_of_memory(tmp_path: Path) -> None:
    """Its pages do not grow with the number of shards."""
    ran = subprocess.run(
        [sys.executable, "-c", TWENTY_FOUR_STORES, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) < 4 << 20


# In a process of its own: SQLite counts what other tests have open, too.
TWENTY_FOUR_STORES = """
import sys, pathlib, apsw
from kantor_orchestrator.store.sqlite import SqliteStore, limit_memory
limit_memory(2 << 20)
stores = [SqliteStore(pathlib.Path(sys.argv[1], f"shard-{number}.db"), "topic-id/0", 86_400.0) for number in range(24)]
for store in stores:
    store.flush({f"tx-{number}": (bytes(500), None, None) for number in range(1_000)}, 1, 0)
assert stores[0].load("tx-7") == bytes(500)
print(apsw.memory_used())
"""


def test_a_forgotten_transaction_is_gone(path: Path) -> None:
    """None in a flush removes the snapshot."""
    store = open_store(path)
    store.flush({"a": (b"1", None, None), "b": (b"2", None, None)}, 1, 0)
    store.flush({"a": None}, 2, 0)
    assert (store.load("a"), store.load("b")) == (None, b"2")


def test_a_store_of_another_cluster_is_wiped(path: Path) -> None:
    """The state topic's id names the changelog: a topic recreated starts over."""
    store = open_store(path, "old-id/0")
    store.flush({"a": (b"1", None, None)}, 5, 0)
    store.close()
    other = open_store(path, "new-id/0")
    assert (other.load("a"), other.position) == (None, 0)


def test_a_store_that_is_too_old_is_wiped(path: Path) -> None:
    """Tombstones may be gone by then: an ended transaction would come back to life."""
    store = open_store(path)
    store.flush({"a": (b"1", None, None)}, 5, 0)
    store.close()
    other = open_store(path, max_age=-1.0)
    assert (other.load("a"), other.position) == (None, 0)


def test_a_store_whose_restoring_was_not_finished_is_wiped(path: Path) -> None:
    """Snapshots without a position are of an unknown time."""
    store = open_store(path)
    store.flush({"a": (b"1", None, None)}, 0, 0)
    store.close()
    assert open_store(path).load("a") is None


def test_a_torn_file_is_wiped(path: Path) -> None:
    """What SQLite can't read is restored from Kafka, not repaired."""
    path.write_bytes(b"this is no database" * 1000)
    store = open_store(path)
    store.flush({"a": (b"1", None, None)}, 1, 0)
    assert store.load("a") == b"1"


def test_due_before_finds_timers_and_only_them(path: Path) -> None:
    """Dormant transactions stay on disk until their timer comes near."""
    store = open_store(path)
    store.flush({"soon": (b"s", 100, None), "later": (b"l", 200, None), "never": (b"n", None, None)}, 1, 0)
    assert list(store.due_before(150)) == [("soon", b"s")]


def test_expired_lists_the_oldest_stubs_first(path: Path) -> None:
    """Retained records are dropped in the order in which they expire, a bounded number at a time."""
    store = open_store(path)
    store.flush({name: (b"x", None, expires) for name, expires in (("b", 20), ("a", 10), ("c", 90))}, 1, 0)
    assert (list(store.expired(50, 10)), list(store.expired(50, 1))) == (["a", "b"], ["a"])


def test_the_age_counts_from_the_last_flush(path: Path) -> None:
    """A store in use is never too old."""
    store = open_store(path)
    store.flush({"a": (b"1", None, None)}, int(time.time()), 0)
    store.close()
    assert open_store(path, max_age=60.0).load("a") == b"1"


@pytest.mark.parametrize("owner", ["4" * 32, "0" * 8 + "9" * 24, "7" * 20 + "e" + "1" * 11, "1" * 29 + "e12"])
def test_an_owner_that_looks_like_a_number_is_itself(
    path: Path, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    """One in a million is of digits alone, or of digits and an e: its shard was lost again at once."""
    monkeypatch.setattr("kantor_orchestrator.store.sqlite.uuid4", lambda: UUID(owner))
    store = open_store(path)
    store.flush({"a": (b"1", None, None)}, 5, 0)
    assert store.load("a") == b"1"


def test_a_store_that_another_one_has_opened_is_lost(path: Path) -> None:
    """Whoever opened it before is told so, and has changed nothing: what it would read is not what it knows."""
    before, since = open_store(path), open_store(path)
    with pytest.raises(StoreLostError, match="another owner"):
        before.flush({"a": (b"1", None, None)}, 5, 0)
    assert since.load("a") is None
    since.flush({"a": (b"2", None, None)}, 6, 0)
    assert since.load("a") == b"2"
