"""What can't be read is deferred, and so is all that comes after it for the same transaction, in order (docs/design/shard.md).

* shard-22: a message that can't be read changes nothing: no fingerprint of it is kept. Its journal offset is
  (``Transaction.put_off``), and nobody else waits. What comes later for the transaction is deferred behind it, whether it can
  be read or not; but for the same message (same source and id) that can be read: that one takes its place.
* shard-23: the first one is asked for again by a timer, until it can be read or ``GRACE`` has passed. Then, or at once if it
  can never be read, it is an incident (``poison``): the transaction is parked, if it has no saga or runs, and no timer goes
  off. A person says ``retry`` (it is read again) or ``skip`` (it is dropped).
* shard-24: the first one that is dealt with is followed by the next ones: they are asked for in portions, and come as copies
  in the journal. A copy of anything but the first one is stale.
* shard-14: the list is bounded (``MOST``). What does not fit is dropped, with a record in the history and an incident.

The agreement with the shell is in ``entry.py``.
"""

from __future__ import annotations

from kantor.envelope import fingerprint
from kantor_orchestrator.core import progress
from kantor_orchestrator.core.decision import Decision
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import FIRST, POISON, Kind, Status

#: For how long (ms) a message may be unreadable for now before it waits for a person.
GRACE = 30_000
#: After how long (ms) it is asked for again meanwhile.
WAIT = 2_000
#: After how long (ms) a copy that was asked for and did not come is asked for again.
PATIENCE = 60_000
#: How many are deferred at most: 8 bytes each in the state.
MOST = 10_000
#: How many copies are asked for at once, when the first one could be read.
PORTION = 100

#: The code of an incident: more was deferred than is kept; what came then is lost to this transaction.
OVERFLOW = "put_off_full"


def is_for_later(d: Decision, entry: Entry) -> bool:
    """Whether a message that is no copy can't be looked at now."""
    if entry.error or entry.not_yet:
        return True
    return bool(d.txn.put_off) and not _takes_the_place(d, entry)


def put_off(d: Decision, why: str = "") -> None:
    """The message waits: it can't be read, or something before it waits. ``why``: it could be read, but not be taken in."""
    entry, txn = d.entry, d.txn
    d.fingerprint = 0
    if why and entry.again >= 0:
        _put_first(d, entry.again, why)
        return
    if entry.journal_offset in txn.put_off:
        return
    if len(txn.put_off) >= MOST:
        reason = f"{_name(entry)}: {MOST} messages wait already behind one that can't be read"
        d.ignore(OVERFLOW, reason)
        d.incident(OVERFLOW, f"messages are lost to this transaction from {reason}")
        return
    if txn.put_off:
        d.emit(Kind.PUT_OFF, put_off=entry.journal_offset, reason=f"{_name(entry)} comes after it")
    else:
        _put_first(d, entry.journal_offset, why)


def copy(d: Decision) -> bool:
    """A copy of what was deferred. Whether it is looked at now as the message that it is."""
    entry, txn = d.entry, d.txn
    if not txn.put_off or txn.put_off[0] != entry.again:
        return False  # stale
    if entry.error or entry.not_yet:
        d.fingerprint = 0
        _put_first(d, entry.again)
        return False
    _free(d, Kind.TAKEN_BACK, f"{_name(entry)} can be read")
    return d.fingerprint not in txn.fingerprints


def take_the_place(d: Decision) -> None:
    """The first one has come again, and can be read."""
    if d.txn.put_off:
        _free(d, Kind.TAKEN_BACK, f"{_name(d.entry)} is the same message, and can be read")


def ask_for_next(d: Decision) -> None:
    """The first one is dealt with: the next ones are wanted, if none are under way. Those behind one that is poison wait."""
    txn = d.txn
    if txn.put_off and not txn.asked and not is_poisoned(d) and not txn.put_off_since:
        _ask(d, PORTION, "what waited behind it")


def is_due(d: Decision) -> bool:
    return bool(d.txn.put_off) and 0 < d.txn.again_at <= d.entry.at


def ask(d: Decision, reason: str) -> None:
    """Look at the first one once more."""
    _ask(d, 1, reason)


def drop(d: Decision, reason: str) -> None:
    """A person drops the first one."""
    _free(d, Kind.DROPPED, reason)
    progress.settle(d)
    ask_for_next(d)


def start(d: Decision, offset: int, reason: str) -> None:
    """A person wants the start at this journal offset to start the transaction, old as it is."""
    d.emit(Kind.PUT_OFF, put_off=offset, due=d.entry.at + PATIENCE, code=FIRST, reason=reason)
    _ask(d, 1, reason)


def is_poisoned(d: Decision) -> bool:
    return any(incident.kind == POISON for incident in d.txn.incidents)


def _takes_the_place(d: Decision, entry: Entry) -> bool:
    print_ = d.txn.put_off_print
    return bool(print_) and print_ == fingerprint(entry.source, entry.id)


def _put_first(d: Decision, offset: int, for_good: str = "") -> None:
    entry, txn = d.entry, d.txn
    why = for_good or entry.error or entry.not_yet
    since = txn.put_off_since or entry.at
    is_final = bool(for_good or entry.error) or entry.at - since >= GRACE
    poisoned = is_poisoned(d)
    d.emit(
        Kind.PUT_OFF,
        put_off=offset,
        code=FIRST,
        due=0 if is_final or poisoned else entry.at + WAIT,
        reason=f"{_name(entry)}: {why}",
        fingerprint=fingerprint(entry.source, entry.id),
    )
    if is_final and not poisoned:
        parks = txn.status in (Status.RUNNING, Status.OBSERVED)
        d.emit(
            Kind.INCIDENT_OPENED,
            code=POISON,
            reason=f"{_name(entry)}: {why}",
            status=Status.PARKED if parks else None,
        )


def _free(d: Decision, kind: Kind, reason: str) -> None:
    """The first one waits no more, and the transaction goes on where it was parked."""
    txn, mark = d.txn, d.fingerprint
    status = None
    if txn.status is Status.PARKED:
        status = Status.RUNNING if txn.saga else Status.OBSERVED
    d.fingerprint = 0 if kind is Kind.TAKEN_BACK else mark  # it is the message's own transitions that count
    due = progress.lives_until(d)
    d.emit(kind, put_off=txn.put_off[0], reason=reason, status=status, due=due)
    if kind is Kind.TAKEN_BACK:
        d.fingerprint = mark


def _ask(d: Decision, most: int, reason: str) -> None:
    for offset in d.txn.put_off[:most]:
        d.emit(Kind.AGAIN_ASKED, put_off=offset, due=d.entry.at + PATIENCE, reason=reason)


def _name(entry: Entry) -> str:
    return f"{entry.type or 'message'} at {entry.origin}"
