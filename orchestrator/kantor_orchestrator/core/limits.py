"""What one transaction may take, so that no state grows for ever (shard-14).

Its values, captured from messages and built by expressions, are bounded together; so are the fields of the commands that one
entry sends, for a decision is one record of the log; and the entries that count for it. Steps need no bound of their own: the
definition has so many, and an ``each`` so many members (``progress``).

A message that is more is deferred, what the saga itself builds is an incident of its step, an operator action is refused. Each says which limit
it is, and what to do. Many commands of one entry go out in portions: the next ones once the first are answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Characters and values (bytes, numbers: about as many as they have in JSON) that a transaction keeps at most.
MOST_KEPT = 256 * 1024
#: In the fields of the commands of one entry: a record of the log, of 8 MiB at most, takes them with what is around them. Above
#: half of it no member begins and none is reversed any more: in its turn, later.
MOST_SENT = 3 * 1024 * 1024
#: Steps of all expressions that one entry leads to: two or three seconds, in which the other transactions of its engine wait. One
#: expression has a bound of its own, but a thousand members may evaluate several each.
MOST_STEPS = 5_000_000
#: Above these, no member begins and none is reversed, if an answer to what goes out is awaited: in its turn, when that comes.
PORTION_STEPS = 1_000_000
#: Messages that count for a transaction; of answers to its own commands, without which it could not end, twice as many.
MOST_ENTRIES = 10_000
#: Characters of an id, a source or a cause: they are kept in the history and, with early messages, in the state.
MOST_ATTRIBUTE = 1024

#: Characters of a reason or a code: what a service says of a failure, a person of an operator action. The rest is in the message itself.
MOST_TEXT = 4096

#: What is smaller is not counted with all that is kept, but for once in ``_SELDOM`` entries: counting costs.
_SMALL, _SELDOM = 1024, 50


def weight(value: Any, most: int = MOST_KEPT) -> int:
    """The characters and values in a value. Stops counting above ``most``."""
    found, waiting = 0, [value]
    while waiting and found <= most:
        one = waiting.pop()
        found += 1
        if isinstance(one, str | bytes):
            found += len(one)
        elif isinstance(one, Mapping):
            found += sum(len(str(key)) for key in one)
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
    return found


def too_much_kept(new: Any, kept: Iterable[Any], entries: int) -> str:
    """Why ``new`` can't be kept beside what is ``kept`` already; empty: it can."""
    size = weight(new)
    if size <= _SMALL and entries % _SELDOM != _SELDOM - 1:
        return ""
    for one in kept:
        if size > MOST_KEPT:
            break
        size += weight(one)
    if size <= MOST_KEPT:
        return ""
    return (
        f"the transaction would keep more than {MOST_KEPT:,} characters and values: capture fewer fields, or a smaller list, in "
        "the saga's next version; this transaction can do without (`kantor skip`), or be ended (`kantor cancel`, `kantor close`)"
    )


def too_many_entries(entries: int, *, answers: bool) -> str:
    """Why another message can't count; empty: it can. ``answers``: to a command of the transaction's own."""
    most = 2 * MOST_ENTRIES if answers else MOST_ENTRIES
    if entries < most:
        return ""
    return (
        f"{entries:,} messages count for the transaction already, the most is {most:,}: find out who sends so many in one "
        "transaction; it can do without this one (`kantor skip`), or be ended (`kantor cancel`, `kantor close`)"
    )
