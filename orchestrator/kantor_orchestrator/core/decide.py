"""What an entry of the journal means to a transaction: the pure heart of the engine.

The rules, each more exactly in docs/design/saga.md:

* saga-2: order does not exist across topics, and a duplicate changes nothing. saga-5: what comes before its start waits for it.
  saga-6: only starts are judged by their age. saga-9: a success counts in whatever state its step is.
* saga-13, saga-17: a step that may have happened is compensated: timed-out and in-flight steps are *in doubt* when compensation
  begins. saga-21: a success that arrives later is compensated then, even after the end. saga-27: so is one in a member of a
  composite that was decided without it.
* saga-19: compensation runs in reverse topological order, each confirmed. One in doubt is sent in its turn and holds nobody up.
* saga-20: a compensation that exhausts its retries is an incident, never an end. saga-32: from every incident there is a way
  forward besides closing it (``mending``). saga-29: ``closed`` is final. saga-22: one effect has one reversal (``evidence``).
* saga-24: after the pivot there is no way back. saga-25: one that failed retryably acts if its command is delivered once more,
  and nothing could reverse that: it is asked about before it is given up, if it can be. One that takes effect all the same,
  after what was before it has been given up, is a person's.
* saga-11: a failure counts for its attempt only (its causation is a command of ours) or for its open step. saga-12: retries are
  durable: backoff is a timer in the state, jitter is derived from the command's id. saga-14: a timer that is early or stale does
  nothing.
* shard-22: what can't be read is deferred, and all that comes after it for the same transaction (``quarantine``).
* saga-30: while a person holds a saga, its transactions stand still: messages are kept, timers wait, nothing is sent. The
  release is an entry for each, which looks at what was kept, in order. saga-31: operator actions are entries like all others.

Beside this file: ``messages`` (what a message means once the saga has started), ``fired`` (timers), ``acts`` (people),
``quarantine``, ``progress`` and ``reversal`` (what follows).
"""

from __future__ import annotations

from kantor.envelope import COMPENSATE_TRANSACTION, fingerprint
from kantor_orchestrator.core import acts, fired, limits, messages, parents, progress, quarantine, refusals
from kantor_orchestrator.core.decision import Decision, ExpressionError
from kantor_orchestrator.core.entry import RELEASE, Entry
from kantor_orchestrator.core.messages import EXPIRED, keep
from kantor_orchestrator.core.saga import START, Saga
from kantor_orchestrator.core.transaction import EARLY_TTL, ENDED, Kind, Status, Transaction, Transition

__all__ = ["EARLY_TTL", "EXPIRED", "OLD_START", "consider", "decide"]

#: How old a start may be (ms). What is older may have ended, and nobody would know any more: its retained record is gone.
OLD_START = progress.STUB_TTL[Status.COMPLETED]
#: The codes of starts that start nothing: what services do because of them, nobody follows.
IGNORED_STARTS = BEFORE_DEPLOYMENT, OLD_START_CODE = "before_deployment", "old_start"


def decide(
    saga: Saga | None, transaction: Transaction, entry: Entry, now: int, hold: str = ""
) -> list[Transition]:
    """What ``entry`` means: the transitions, in order; the commands that go out are in them.

    ``saga`` is the transaction's own version if it has started, else the one that ``entry`` would start, else None.
    ``now`` (ms) is when the shell sends: expiry and timeouts of commands count from it, so that a lagging engine sends
    no dead commands. ``hold``: who holds the saga, and why; empty: nobody. Never raises for what may arrive; an empty list
    means: a duplicate, a stale timer or copy, or none of this transaction's business.
    """
    return consider(saga, transaction, entry, now, hold)[0]


def consider(
    saga: Saga | None, transaction: Transaction, entry: Entry, now: int, hold: str = ""
) -> tuple[list[Transition], Transaction]:
    """As :func:`decide`; also the transaction as these transitions leave it. ``transaction`` itself is not changed."""
    d = Decision(saga, transaction, entry, now, hold)
    if entry.kind == "refused":
        refusals.refused(d)
    elif entry.kind == "timer":
        _timer(d)
    elif entry.kind == "act":
        _act(d)
    else:
        _message(d)
    return d.out, d.txn


def _timer(d: Decision) -> None:
    entry = d.entry
    if entry.error:
        d.incident("timer_failed", entry.error, entry.step)
    elif entry.timer == RELEASE:
        if d.saga is not None and not d.txn.put_off:
            _release(d)
    else:
        fired.fired(d)
        _wake(d)


def _act(d: Decision) -> None:
    entry = d.entry
    d.fingerprint = fingerprint(entry.source, entry.id)
    if d.fingerprint in d.txn.fingerprints:  # somebody waits for the answer, again
        d.fingerprint = 0
        d.ignore(acts.DONE_ALREADY, f"this {entry.type} was done before")
    elif entry.error:
        d.ignore(acts.IMPOSSIBLE, entry.error)
    else:
        acts.act(d)
        _wake(d)
        if not d.out:  # what it tried went wrong as before: the incident that says why is open already
            d.ignore(acts.IMPOSSIBLE, acts.as_before(d))


def _message(d: Decision) -> None:
    entry = d.entry
    d.fingerprint = fingerprint(entry.source, entry.id)
    if entry.again >= 0:
        if quarantine.copy(d):
            _read(d)
    elif d.fingerprint in d.txn.fingerprints:
        return
    elif quarantine.is_for_later(d, entry):
        quarantine.put_off(d)
        return
    else:
        quarantine.take_the_place(d)
        _read(d)
    quarantine.ask_for_next(d)


def _read(d: Decision) -> None:
    """A message that can be read, and whose turn it is."""
    entry, entries = d.entry, d.txn.entries
    if entries >= limits.MOST_ENTRIES:
        answers = d.is_own_command(entry.causation_id)
        if why := limits.too_many_entries(entries, answers=answers):
            quarantine.put_off(d, why)
            return
    if not d.txn.saga:
        _before_start(d)
    elif d.hold or d.txn.held:
        _hold_back(d, entry)
    else:
        messages.message(d, entry)
        _wake(d)


def _before_start(d: Decision) -> None:
    entry, saga = d.entry, d.saga
    if entry.type == COMPENSATE_TRANSACTION and entry.parent:
        parents.asks_before_start(d)
        return
    if d.txn.status is Status.CLOSED:
        d.ignore("closed", f"it is closed: {entry.type} changes nothing")
        return
    if d.txn.status in ENDED:
        d.ignore("reversed_before_start", f"its parent had it reversed before: {entry.type} changes nothing")
        return
    if saga is None or entry.type != saga.starts_on:
        keep(d, entry)
        return
    if entry.sent_at > 0 and entry.again < 0 and not entry.parent:
        if entry.sent_at < saga.deployed_at:
            d.fingerprint = 0
            by_hand = f"if it is newer than its time says, `kantor start --offset {entry.journal_offset}`"
            d.ignore(BEFORE_DEPLOYMENT, f"{saga.name} was deployed after it was sent; {by_hand}")
            return
        if entry.at - entry.sent_at > OLD_START:
            d.fingerprint = 0  # the same message may start it yet
            hours = (entry.at - entry.sent_at) // 3_600_000
            reason = f"it was sent {hours} h ago, and may have ended since: if not, `kantor start --offset {entry.journal_offset}`"
            d.ignore(OLD_START_CODE, f"{entry.type} at {entry.origin} starts nothing: {reason}")
            return
    waiting = d.txn.early
    try:
        captured = d.capture(entry.type, entry.payload)
    except ExpressionError as error:
        quarantine.put_off(d, str(error))
        return
    d.emit(
        Kind.STARTED,
        saga=saga.name,
        version=saga.version,
        status=Status.RUNNING,
        due=entry.at + saga.deadline if saga.deadline else 0,
        scope=START,
        captured=captured,
        parent=entry.parent,
        parent_command=entry.parent_command,
    )
    if d.hold:
        for message in waiting:
            keep(d, message)
        d.be_held()
        return
    progress.settle(d)
    d.waiting += waiting
    _wake(d)


def _hold_back(d: Decision, message: Entry) -> None:
    """It waits for the release, if it means something to the saga."""
    assert d.saga is not None
    if message.type in d.saga.types:
        keep(d, message)
        d.be_held()


def _release(d: Decision) -> None:
    """Go on where it stood still."""
    if d.hold or not d.txn.held:
        return
    status, waiting = d.txn.status, d.txn.early
    d.emit(Kind.RELEASED, due=d.entry.at + progress.stub_ttl(d.txn, status) if status in ENDED else 0)
    progress.settle(d)
    d.waiting += waiting
    _wake(d)


def _wake(d: Decision) -> None:
    """Look at the messages that waited for what has begun now."""
    while d.waiting:
        message = d.waiting.pop(0)
        d.fingerprint = 0
        messages.message(d, message)
