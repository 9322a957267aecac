"""The view's database: what is written, whichever database it is; what is read is in ``reader.py`` and ``search.py``."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kantor.clients import Partition
from kantor.errors import ConfigError
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.history import Epoch
from kantor_orchestrator.view import columns
from kantor_orchestrator.view.columns import Beside, FoundBy, Kept, Known
from kantor_orchestrator.view.facts import to_json
from kantor_orchestrator.view.rows import RowChanges, Shown, TransactionRow
from kantor_orchestrator.view.shown import NOTHING_IS_OPEN, last_error, what_is_open
from kantor_orchestrator.view.sql import Database, InUseError, ReplacedError, Row
from kantor_orchestrator.view.sqlite import SqliteDatabase
from kantor_orchestrator.view.status import NO_TRANSACTION

__all__ = ["InUseError", "Row", "ViewWriter", "beside", "for_reading", "is_shared", "path_of"]

#: Places in the timeline for each transaction: ten times what the engine lets it have. One that is only observed may have
#: more (a constant as the transaction id, say): its timeline ends there.
PARTS = 100_000
#: Who gives signs of life.
VIEW, INTAKE = "view", "intake"
#: Beside them: up to when everything is in the view (view-14).
COMPLETE = "complete"
#: All that a projection fills.
TABLES = (
    "transactions", "timeline", "schemas", "keys", "incidents", "tallies", "uncorrelated", "refused", "sagas", "holds",
    "positions", "seen", "unread",
)  # fmt: skip

#: What :func:`path_of` and the others take: a URL, or the path of an SQLite file.
Location = str | Path


def is_shared(place: Location) -> bool:
    """Whether several processes may wait for their turn to write. Raises ``ConfigError`` for a URL that is none."""
    if isinstance(place, Path) or place.startswith("sqlite:"):
        path_of(place)
        return False
    if re.match(r"postgres(ql)?://.", place):
        return True
    raise _unsupported(place)


def path_of(place: Location) -> Path:
    """The file of ``sqlite:///path``. Raises ``ConfigError`` for anything else."""
    if isinstance(place, Path):
        return place
    found = re.fullmatch(r"sqlite:///(.+)", place)
    if found is None:
        raise _unsupported(place)
    return Path(found[1])


def _unsupported(place: str) -> ConfigError:
    shown = re.sub(r"^(\w+://)?.*@", r"\1...@", place)
    return ConfigError(
        f"KANTOR_VIEW_URL is {shown!r}; give it sqlite:///path/to/file or postgresql://user:password@host:5432/database"
    )


def for_writing(place: Location) -> Database:
    """Made if it is not there, up to date. Raises ``InUseError`` if another process writes to it, ``ConfigError`` if that
    can't work, ``ViewUnavailableError`` if the server does not answer."""
    if is_shared(place):
        from kantor_orchestrator.view.postgresql import PostgresDatabase

        return PostgresDatabase.for_writing(str(place))
    return SqliteDatabase.for_writing(path_of(place))


def for_reading(place: Location) -> Database:
    """Raises ``NoViewError`` if there is none yet, and as :func:`for_writing`."""
    if is_shared(place):
        from kantor_orchestrator.view.postgresql import PostgresDatabase

        return PostgresDatabase.for_reading(str(place))
    return SqliteDatabase.for_reading(path_of(place))


def beside(place: Location) -> Database:
    """An empty one of the same kind, for ``Database.replace_by``; raises as :func:`for_writing`."""
    if is_shared(place):
        from kantor_orchestrator.view.postgresql import PostgresDatabase

        return PostgresDatabase.beside(str(place))
    return SqliteDatabase.beside(path_of(place))


class ViewWriter:
    """The one that writes: the view process, or a rebuild."""

    def __init__(self, place: Location | Database) -> None:
        """Raises as :func:`for_writing`."""
        self._db: Database = for_writing(place) if isinstance(place, str | Path) else place
        self.is_remote = self._db.is_remote
        try:
            self._build = self._about("build")
        except BaseException:
            self._db.close()
            raise
        self._found: dict[str, tuple[TransactionRow, bytes] | None] = {}

    @property
    def database(self) -> Database:
        return self._db

    def close(self) -> None:
        self._db.close()

    def wipe(self) -> None:
        """Forget everything: it is projected again."""
        with self._writing():
            for table in TABLES:
                self._db.many(f"DELETE FROM {table}", [()])  # noqa: S608 - our own tables
            self._db.many("UPDATE about SET number = ? WHERE name = 'complete_from'", [(0,)])

    def refresh(self) -> None:
        """Go on with the view that is there now, if a rebuild has put another one in the place of ours: its positions are
        others."""
        self._build = self._about("build")
        self._found = {}

    def positions(self) -> dict[Partition, tuple[int, str]]:
        """By partition: the next offset to read, and the id of the topic that it is of."""
        return {
            (topic, partition): (position, topic_id)
            for topic, partition, position, topic_id in self._db.rows(
                "SELECT topic, partition, position, topic_id FROM positions"
            )
        }

    def epochs(self) -> dict[int, Epoch]:
        """By shard: how far its history has been read."""
        return {
            shard: Epoch(epoch, entry, prefix=bytes.fromhex(prefix))
            for shard, epoch, entry, prefix in self._db.rows(
                "SELECT partition, epoch, entry, prefix FROM positions WHERE topic = ?", topics.HISTORY
            )
        }

    def complete_from(self) -> int:
        """What began before may be missing (ms; 0: nothing is)."""
        return self._about("complete_from")

    def next_no(self) -> int:
        ((no,),) = self._db.rows("SELECT coalesce(max(no), 0) + 1 FROM transactions")
        return int(no)

    def expect(self, ids: Iterable[str]) -> None:
        """:meth:`find` will be asked for these until the next :meth:`store`: one question instead of many, where each is a
        journey."""
        asked = [id_ for id_ in ids if "\0" not in id_]
        self._found = dict.fromkeys(asked)
        moves: dict[str, list[bytes]] = {}
        dialect = self._db.dialect
        wanted = ", ".join(f"t.{column}" for column in Known._fields)
        for id_, *facts, part in self._db.rows(
            f"SELECT t.id, {wanted}, l.moves FROM transactions t"  # noqa: S608 - our own names
            f" LEFT JOIN timeline l ON l.place >= t.no * {PARTS} AND l.place < (t.no + 1) * {PARTS}"
            f" WHERE {dialect.among.format('t.id')} ORDER BY l.place",
            dialect.many(asked),
        ):
            of_one = moves.setdefault(id_, [])
            of_one += [part] if part else []
            self._found[id_] = _row(id_, Known(*facts)), b""
        for id_, of_one in moves.items():
            found = self._found[id_]
            assert found is not None
            self._found[id_] = found[0], b"".join(of_one)

    def find(self, id_: str) -> tuple[TransactionRow, bytes] | None:
        """A transaction: its row, still without what its transitions tell, and its transitions."""
        if id_ in self._found:
            return self._found[id_]
        wanted = ", ".join(Known._fields)
        found = self._db.rows(f"SELECT {wanted} FROM transactions WHERE id = ?", id_)  # noqa: S608 - our own names
        if not found:
            return None
        row = _row(id_, Known(*found[0]))
        parts = self._db.rows(
            "SELECT moves FROM timeline WHERE place >= ? AND place < ? ORDER BY place",
            row.no * PARTS,
            (row.no + 1) * PARTS,
        )
        return row, b"".join(moves for (moves,) in parts)

    def store(self, changes: RowChanges, topic_ids: Mapping[str, str]) -> None:
        """Store these, with the positions, in one SQL transaction. Raises ``KantorError``: nothing was stored."""
        self._found = {}
        with self._writing():
            self._store(changes, topic_ids)

    def alive(self, intake: int, complete: int = 0) -> None:
        """Note that the view works, also when there is nothing to store, when it last heard of intake, and up to when
        everything is stored (ms)."""
        signs = [(VIEW, int(time.time() * 1000)), (INTAKE, intake), (COMPLETE, complete)]
        with self._writing():
            self._seen([(name, at) for name, at in signs if at])

    def seen_as(self, signs: Iterable[Row]) -> None:
        """Signs of life as an older view has them."""
        with self._writing():
            self._seen(signs)

    def forget_positions(self, topic: str) -> None:
        with self._writing():
            self._db.many("DELETE FROM positions WHERE topic = ?", [(topic,)])

    def incomplete_before(self, at: int) -> None:
        """Note that of what began before this (ms) something may be missing."""
        with self._writing():
            self._db.many(
                "UPDATE about SET number = ? WHERE name = 'complete_from' AND number < ?", [(at, at)]
            )

    def reached(self, positions: Mapping[Partition, int], topic_ids: Mapping[str, str]) -> None:
        """Go on from these, though nothing was projected."""
        with self._writing():
            self._store_positions(positions, topic_ids)

    def looked_at(self, positions: Mapping[int, int]) -> None:
        """Note the engine's positions in the journal, by shard, as its group says them. They come late: the history may tell
        more."""
        with self._writing():
            self._look({shard: position - 1 for shard, position in positions.items()})

    def _look(self, entries: Mapping[int, int]) -> None:
        """Never back."""
        self._db.many(
            "UPDATE positions SET entry = ? WHERE topic = ? AND partition = ? AND entry < ?",
            [(entry, topics.JOURNAL, shard, entry) for shard, entry in entries.items()],
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._db.writing():
            if self._about("build") != self._build:
                raise ReplacedError("the view has been rebuilt: going on with the new one")
            yield

    def _about(self, name: str) -> int:
        ((number,),) = self._db.rows("SELECT number FROM about WHERE name = ?", name)
        return int(number)

    def _store(self, changes: RowChanges, topic_ids: Mapping[str, str]) -> None:
        many = self._db.many
        tallies: Counter[tuple[str, str]] = Counter()
        new, found_otherwise, changed, timeline = [], [], [], []
        for row in changes.transactions:
            if row.parts < PARTS:
                timeline.append((row.no * PARTS + row.parts, to_json(row.messages), b"".join(row.moves)))
                row.parts += 1
            if row.moves or row.shown is None:
                row.shown = _shown(row)
            row.touched, row.messages, row.moves = False, [], []
            found_by, beside = row.shown
            stored, row.stored = row.stored, found_by
            kept = Kept(
                shard=row.shard,
                updated_at=row.updated_at,
                parts=row.parts,
                entry=row.entry,
                unread=row.unread,
            )
            rest = (*beside, *kept, row.no)
            if found_by == stored:
                changed.append(rest)
                continue
            tallies[found_by[:2]] += row.is_known
            if stored is None:
                new.append((*found_by, *rest, row.id))
            else:
                found_otherwise.append((*found_by, *rest))
                tallies[stored[:2]] -= stored[1] != NO_TRANSACTION
        many(columns.INSERT, new)
        many(columns.UPDATE, found_otherwise)
        many(columns.UPDATE_REST, changed)
        many("INSERT INTO timeline VALUES (?, ?, ?)", timeline)
        many(
            "INSERT INTO schemas VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET schema = excluded.schema",
            [(id_, to_json(s)) for id_, s in changes.schemas],
        )
        many("INSERT INTO keys VALUES (?, ?, ?) ON CONFLICT DO NOTHING", changes.keys)
        many("INSERT INTO incidents VALUES (?, ?, ?, ?, ?, ?, ?)", changes.incidents_opened)
        many(
            "UPDATE incidents SET closed_at = ? WHERE no = ? AND position = ? AND closed_at = 0",
            changes.incidents_closed,
        )
        many(
            "INSERT INTO uncorrelated VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (topic, intake, reason) DO UPDATE SET"
            " count = excluded.count, sample = excluded.sample, at = excluded.at WHERE excluded.at >= uncorrelated.at",
            changes.uncorrelated,
        )
        many(
            "INSERT INTO refused VALUES (?, ?, ?) ON CONFLICT (topic) DO UPDATE SET"
            " reason = excluded.reason, at = excluded.at WHERE excluded.at >= refused.at",
            changes.refused,
        )
        many(
            "INSERT INTO unread VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (shard) DO UPDATE SET"
            " count = unread.count + excluded.count",
            changes.unread,
        )
        many(
            "INSERT INTO holds VALUES (?, ?, ?, ?) ON CONFLICT (saga, shard) DO UPDATE SET"
            " reason = excluded.reason, at = excluded.at",
            changes.holds,
        )
        many(
            "INSERT INTO sagas VALUES (?, ?, ?) ON CONFLICT (saga, version) DO UPDATE SET facts = excluded.facts",
            [(s.saga, s.version, s.dump()) for s in changes.sagas],
        )
        many(
            "INSERT INTO tallies VALUES (?, ?, ?)"
            " ON CONFLICT (saga, status) DO UPDATE SET count = tallies.count + excluded.count",
            [(saga, status, count) for (saga, status), count in tallies.items() if count],
        )
        self._store_positions(changes.positions, topic_ids)
        many(
            "UPDATE positions SET epoch = ?, entry = ?, prefix = ? WHERE topic = ? AND partition = ?",
            [
                (e.epoch, e.entry, e.prefix.hex(), topics.HISTORY, shard)
                for shard, e in changes.epochs.items()
            ],
        )
        self._look(changes.looked_at)

    def _store_positions(self, positions: Mapping[Partition, int], topic_ids: Mapping[str, str]) -> None:
        self._db.many(
            "INSERT INTO positions (topic, partition, position, topic_id) VALUES (?, ?, ?, ?) ON CONFLICT (topic, partition) DO UPDATE SET"
            " position = excluded.position, topic_id = excluded.topic_id",
            [(t, p, position, topic_ids.get(t, "")) for (t, p), position in positions.items()],
        )

    def _seen(self, signs: Iterable[Row]) -> None:
        self._db.many(
            "INSERT INTO seen VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET at = excluded.at", signs
        )


def _row(id_: str, known: Known) -> TransactionRow:
    row = TransactionRow(known.no, id_, known.shard, known.started_at)
    row.stored, row.is_known = (known.saga, known.status), known.status != NO_TRANSACTION
    row.updated_at, row.parts, row.entry, row.unread = (
        known.updated_at, known.parts, known.entry, known.unread,
    )  # fmt: skip
    return row


def _shown(row: TransactionRow) -> Shown:
    folded = row.folded
    unread = f"a decision could not be read, so this may be wrong: {row.unread}" if row.unread else ""
    if folded is None or not row.is_known:
        status = Status.OBSERVED.value if row.is_known else NO_TRANSACTION
        return Shown(
            FoundBy("", status, row.seen_at, reason="", last_error=unread, open_incidents=0),
            Beside(0, 0, *NOTHING_IS_OPEN, held=""),
        )
    txn = folded.txn
    return Shown(
        FoundBy(
            saga=txn.saga,
            status=txn.status.value,
            started_at=txn.started_at or row.seen_at,
            reason=txn.reason,
            last_error=unread or last_error(txn, folded.troubles),
            open_incidents=len(txn.incidents),
        ),
        Beside(txn.version, txn.ended_at, *what_is_open(txn, row.facts), held=txn.held),
    )
