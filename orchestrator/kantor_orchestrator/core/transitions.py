"""The words of a transaction's state (words-1, words-4): statuses, kinds of transitions, the one table of a step's legal
moves, and the messages that are in transitions."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct


class Status(StrEnum):
    """Of a transaction: docs/concepts.md."""

    RUNNING = "running"
    PARKED = "parked"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    CLOSED = "closed"
    OBSERVED = "observed"


ENDED = frozenset({Status.COMPLETED, Status.COMPENSATED, Status.CLOSED})
#: On its way back, or there.
BACKWARD = frozenset({Status.COMPENSATING, Status.COMPENSATED})


class StepStatus(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    IN_DOUBT = "in_doubt"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    INCIDENT = "incident"


class Kind(StrEnum):
    """Of a transition."""

    # of the transaction
    KEPT = "kept"  # a message came before its saga's start: kept until then
    STARTED = "started"
    COMPENSATION_STARTED = "compensation_started"
    ENDED = "ended"
    REOPENED = "reopened"  # a late effect, after the end
    INCIDENT_OPENED = "incident_opened"
    RESUMED = "resumed"  # a person has dealt with an incident (of the step that the code names): it goes on
    COMPENSATION_REQUESTED = "compensation_requested"  # it can't be decided before the pivot's answer
    REFUSED = "refused"  # a cancellation that came too late
    PARENT_ASKED = "parent_asked"  # its parent is compensated, and waits for it to be
    ANSWERED = "answered"  # its parent's request was answered at once
    NEVER_BEGAN = (
        "never_began"  # its parent asks for its reversal before its start has come: that will do nothing
    )
    EXPIRED = "expired"  # no saga ever started: what was kept is listed as unmatched and dropped
    HELD = "held"  # a person holds its saga: what comes for it waits
    RELEASED = "released"  # what waited is looked at now
    IGNORED = "ignored"  # contradicts the state: recorded with its reason, changes nothing
    PUT_OFF = "put_off"  # can't be read (yet), or comes after one that can't: kept as a journal offset
    AGAIN_ASKED = "again_asked"  # a copy of what was deferred is wanted: the shell appends it to the journal
    TAKEN_BACK = "taken_back"  # the first that was deferred is looked at now
    DROPPED = "dropped"  # a person drops the first deferred message
    # of a step
    ACTIVATED = "activated"
    SKIPPED = "skipped"  # its guard says no, or a person did it by hand
    PROGRESSED = "progressed"  # its service is still at it: the timeout starts again
    ASKED = "asked"  # in doubt: its service is asked whether it happened
    COMMAND_SENT = "command_sent"
    RETRY_SCHEDULED = "retry_scheduled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DOUBTED = "doubted"
    COMPENSATION_SENT = "compensation_sent"
    COMPENSATION_RETRY_SCHEDULED = "compensation_retry_scheduled"
    COMPENSATION_CONFIRMED = "compensation_confirmed"
    COMPENSATION_FAILED = "compensation_failed"


S = StepStatus
#: The legal transitions of a step: kind of transition -> status before -> status after.
TRANSITIONS: dict[Kind, dict[StepStatus, StepStatus]] = {
    Kind.ACTIVATED: {S.PENDING: S.ACTIVE},
    # By hand also while an incident holds it up, and where what was reversed must be there after all (after a pivot).
    Kind.SKIPPED: {
        S.PENDING: S.SKIPPED,
        S.ACTIVE: S.SKIPPED,
        S.FAILED: S.SKIPPED,
        S.IN_DOUBT: S.SKIPPED,
        S.COMPENSATED: S.SKIPPED,
    },
    Kind.PROGRESSED: {S.ACTIVE: S.ACTIVE},
    Kind.ASKED: {S.IN_DOUBT: S.IN_DOUBT},
    # A person asks for it again: in a new round after a final failure or a reversal, else as another attempt.
    Kind.COMMAND_SENT: {
        S.ACTIVE: S.ACTIVE,
        S.FAILED: S.ACTIVE,
        S.IN_DOUBT: S.ACTIVE,
        S.COMPENSATED: S.ACTIVE,
    },
    Kind.RETRY_SCHEDULED: {S.ACTIVE: S.ACTIVE},
    # A success counts in whatever state its step is (saga-9); while a compensation is under way it asks for another round.
    Kind.SUCCEEDED: {
        S.PENDING: S.SUCCEEDED,
        S.ACTIVE: S.SUCCEEDED,
        S.IN_DOUBT: S.SUCCEEDED,
        S.FAILED: S.SUCCEEDED,
        S.SKIPPED: S.SUCCEEDED,
        S.COMPENSATED: S.SUCCEEDED,
        S.COMPENSATING: S.COMPENSATING,
        S.INCIDENT: S.INCIDENT,
    },
    Kind.FAILED: {S.PENDING: S.FAILED, S.ACTIVE: S.FAILED, S.IN_DOUBT: S.FAILED},
    Kind.DOUBTED: {S.PENDING: S.IN_DOUBT, S.ACTIVE: S.IN_DOUBT},
    Kind.COMPENSATION_SENT: {
        S.SUCCEEDED: S.COMPENSATING,
        S.IN_DOUBT: S.COMPENSATING,
        S.COMPENSATING: S.COMPENSATING,
        S.INCIDENT: S.COMPENSATING,  # a person asks for it again
    },
    Kind.COMPENSATION_RETRY_SCHEDULED: {S.COMPENSATING: S.COMPENSATING},
    # By hand also one whose compensation can't be sent.
    Kind.COMPENSATION_CONFIRMED: {
        S.SUCCEEDED: S.COMPENSATED,
        S.IN_DOUBT: S.COMPENSATED,
        S.COMPENSATING: S.COMPENSATED,
        S.INCIDENT: S.COMPENSATED,
    },
    # A pivot that succeeds after it was given up can't be reversed.
    Kind.COMPENSATION_FAILED: {S.COMPENSATING: S.INCIDENT, S.SUCCEEDED: S.INCIDENT},
}
del S


#: The code of an incident: something failed when there was no way back any more.
AFTER_PIVOT = "after_pivot"
#: The code of a step in a member of a composite that is decided without it: what it does is reversed.
NOT_NEEDED = "not_needed"
#: The code of what a person vouches for.
BY_HAND = "by_hand"
#: The code of a failure that the engine itself finds: nobody answered in time.
TIMED_OUT = "timed_out"
#: The code of an incident: a message can't be read; what comes after it waits behind it.
POISON = "poison"
#: The code of an incident: a step took effect again after it was reversed, as far as anybody can tell.
SECOND_EFFECT = "second_effect"
#: The code of an incident: an effect became known after a person had closed the transaction.
AFTER_CLOSE = "after_close"


class SentCommand(Struct, omit_defaults=True, gc=False):
    """A message that goes out with a transition. ``fields`` is its payload; ``expires_at`` 0: never; ``key``: its record
    key, if that is not the transaction id; ``about``: the transaction that it is sent to, if that is another one (a
    child); ``held``: it is history only, because the saga observes or alerts. ``reverses``, ``asks``: the idempotency key
    of the action that a compensation reverses, or that a question is about."""

    id: str
    type: str
    topic: str
    kind: str  # action | compensation | question | ending | refusal | child
    idempotency_key: str
    causation_id: str
    fields: dict[str, Any]
    reverses: str = ""
    asks: str = ""
    expires_at: int = 0
    key: str = ""
    about: str = ""
    held: bool = False
    format: str = "avro"  # | json


class Early(Struct, omit_defaults=True, gc=False):
    """A message that came before its saga's start, or before the composite whose member it is for."""

    kind: str
    type: str
    id: str
    source: str
    causation_id: str
    at: int
    origin: str
    payload: dict[str, Any]
    sent_at: int = 0
    idempotency_key: str = ""
