"""What may go wrong in a run, each as data: a plan can be made smaller by taking some out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Crash:
    """The process dies at this call (odd: before it takes effect, even: after, and nobody is told)."""

    process: str
    call: int
    down: float
    wipe: bool = False  # its disk is lost, too


@dataclass(frozen=True, slots=True)
class Fail:
    """This call, or the next one that can, reports a failure (odd: and did nothing, even: but took effect)."""

    process: str
    call: int


@dataclass(frozen=True, slots=True)
class Freeze:
    """The process stands still and does not know it."""

    process: str
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """The process stands still in the middle of this call (odd: before it takes effect, even: after), or before the
    ``call``-th one of this name."""

    process: str
    call: int
    seconds: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """The process gets nothing of the topic for a while; others do."""

    process: str
    topic: str
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """The process is stopped in good order, and started later."""

    process: str
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Lag:
    """What is written to the topic meanwhile is read later."""

    topic: str
    at: float
    until: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Again:
    """One of the topic's records, chosen by ``number``, is written a second time."""

    topic: str
    number: int
    at: float


@dataclass(frozen=True, slots=True)
class Compact:
    """The cleaner runs over the state topic."""

    at: float


@dataclass(frozen=True, slots=True)
class Act:
    """A person does something to a transaction (``core.acts``), sensible or not."""

    at: float
    act: str
    transaction: str
    step: str = ""
    #: Of a start: which entry of the journal shall start it: "own" (its start's), "another" transaction's, "none" that there is.
    entry: str = ""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody may write to the topic for a while."""

    topic: str
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Held:
    """A person holds the saga ("": every one), and releases it later."""

    at: float
    seconds: float
    saga: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """The shop says something: that it cancels a transaction, or the signal that a step waits for."""

    at: float
    type: str
    transaction: str


@dataclass(frozen=True, slots=True)
class Skew:
    """The process's clock is wrong by so much (s)."""

    process: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Ahead:
    """The broker's clock is ahead by so much (s), for a while, and goes back."""

    at: float
    lasts: float
    seconds: float


@dataclass(frozen=True, slots=True)
class MadeAgain:
    """The topic is deleted, with what some service may not have read yet, and recreated."""

    topic: str
    at: float


@dataclass(frozen=True, slots=True)
class Retold:
    """What a service did it tells once more, of one of the topic's records, under another id. ``names``: what it still says
    of the action: "cause", "key", or "nothing"."""

    topic: str
    number: int
    at: float
    names: str


@dataclass(frozen=True, slots=True)
class Hostile:
    """Bytes that nobody expects, chosen by ``number``. ``topic`` empty: in the topic that they are meant for. ``ours``: in the
    name of one of the plan's transactions, where nobody can read them."""

    topic: str
    number: int
    at: float
    ours: bool = False


Fault = (
    Crash
    | Fail
    | Freeze
    | Stall
    | Hold
    | Stop
    | Lag
    | Again
    | Compact
    | Act
    | Held
    | Told
    | Skew
    | Refuse
    | Ahead
    | MadeAgain
    | Retold
    | Hostile
)
