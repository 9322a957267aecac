"""Snapshots of ended transactions, read from the log (log-9): the state has retained records of them, which say where each one's lies.

They are asked for when something comes for them, which is rare: a late effect, a duplicate, an operator action. The shard waits for
it, as for a definition; others go on. What is asked for by entries that wait behind the first is read with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from kantor.clients import Admin, Clients, Consumer, Partition, Record
from kantor.clock import Clock
from kantor.codec import Codec
from kantor.errors import CodecError, KafkaUnavailableError, KantorError, UnknownSchemaError
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Transaction
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.snapshots import Stub, decided_from, is_at_rest, is_lost

#: Seconds without a record after which reading is given up, to be tried again.
_PATIENCE = 10.0
#: Records that are read through rather than asked for again: a fetch brings about as many.
_NEAR = 500
#: Bytes of the snapshots that are read at once, or little more: they are all kept until their entries are decided on.
_MOST = 4 << 20
#: A few records are wanted: little is fetched ahead, and an empty fetch, which brings the end, answers at once.
_FETCH = {"queued.min.messages": 1, "fetch.wait.max.ms": 10, "fetch.message.max.bytes": 262_144}

#: By transaction: what was found, and the bytes that it took; or why nothing was, and never will be.
Found = dict[str, tuple[Transaction, int] | str]


class Ended:
    """Reads for one shard. Any thread, any number of them."""

    def __init__(self, clients: Clients, admin: Admin, number: int, codec: Codec, clock: Clock) -> None:
        self._clients = clients
        self._admin = admin
        self._place: Partition = (topics.HISTORY, number)
        self._codec = codec
        self._clock = clock

    def read(self, stubs: Mapping[str, Stub]) -> Found:
        """What these point to; of many large ones only the first, but at least the first of all. Raises
        ``KantorError``: ask again."""
        place = self._place
        start, end = self._admin.starts([place]).get(place), self._admin.ends([place]).get(place)
        if start is None or end is None:
            raise KafkaUnavailableError(f"{place[0]}/{place[1]} is gone")
        found: Found = {}
        wanted: dict[int, Stub] = {}
        for stub in stubs.values():
            if start <= stub.history < end:
                wanted[stub.history] = stub
            else:
                found[stub.id] = self._lost(stub)
        if wanted:
            first = next(iter(wanted))
            reader = self._clients.consumer(
                f"kantor-engine-ended-{place[1]}", ends=True, isolation="read_uncommitted", extra=_FETCH
            )
            try:
                taken = self._read(reader, {first: wanted.pop(first)}, found, 0)
                self._read(reader, wanted, found, taken)
            finally:
                reader.close()
        return found

    def _read(self, reader: Consumer, wanted: Mapping[int, Stub], found: Found, taken: int) -> int:
        """In the order of the log, until ``_MOST`` bytes are taken; how many are."""
        offsets = deque(sorted(wanted))
        position: int | None = None
        patience = self._clock.monotonic() + _PATIENCE
        while offsets and taken <= _MOST:
            if position is None or not offsets[0] - _NEAR <= position <= offsets[0]:
                position = offsets[0]
                reader.assign({self._place: position})
            batch = reader.poll(0.1, 1 if position == offsets[-1] else _NEAR)
            for record in batch.records:
                position = record.offset() + 1
                while offsets and offsets[0] < position:
                    stub = wanted[offsets.popleft()]
                    one = found[stub.id] = self._snapshot(stub, record)
                    taken += 0 if isinstance(one, str) else one[1]
            if offsets and batch.ends.get(self._place, -1) > offsets[0]:
                stub = wanted[offsets.popleft()]
                found[stub.id] = self._lost(stub)
            now = self._clock.monotonic()
            if batch.records:
                patience = now + _PATIENCE
            elif now > patience:
                raise KafkaUnavailableError(
                    f"{self._where(offsets[0])} could not be read within {_PATIENCE:.0f} s"
                )
        return taken

    def _snapshot(self, stub: Stub, record: Record) -> tuple[Transaction, int] | str:
        """What the record at a retained record's offset, or the first one behind it, says."""
        if record.offset() != stub.history or record.key() != stub.id.encode():
            return self._lost(stub)
        try:
            decision = decided_from(self._codec.decode(record.value()))
            found = decision.transaction()
        except UnknownSchemaError as error:  # ours, mostly: a registry that has lost what it had
            raise KantorError(f"{self._where(stub.history)} can't be read: {error}") from error
        except (CodecError, KeyError, ValueError):
            return self._lost(stub)
        is_same = found.id == stub.id and (found.saga, found.version) == (stub.saga, stub.version)
        if not is_same or found.status is not stub.status or not is_at_rest(found):
            return self._lost(stub)
        return found, len(decision.snapshot)

    def _lost(self, stub: Stub) -> str:
        what = "is gone, the decision that says what it had done by then: the history was kept for too short a time, or recreated"
        return f"{self._where(stub.history)} {what}"

    def _where(self, offset: int) -> str:
        return f"{self._place[0]}/{self._place[1]}/{offset}"


def say_if_lost(txn: Transaction, entry: Entry) -> None:
    """Nobody knows what such a transaction had done when this came: a message waits for a person, as others that can't be read;
    an operator action is refused, unless it deals with such a message."""
    is_message = entry.kind in ("event", "command")
    if not is_lost(txn) or not (
        is_message or (entry.kind == "act" and not txn.put_off and not txn.incidents)
    ):
        return
    what = f"{entry.type} came after the end" if is_message else f"{entry.type} is not possible"
    entry.error = f"{what}, and {txn.reason}"
