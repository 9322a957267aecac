"""docs/acts.md: what each operator action does in each state, found by trying it (``walk``).

PYTHONPATH=tests python -m unit.acts_page > docs/acts.md
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from kantor_orchestrator.core import acts
from kantor_orchestrator.core.act_kinds import KINDS
from kantor_orchestrator.core.transaction import Kind, Status, StepStatus, Transaction
from unit.acts_checks import by_people_alone, to_an_end
from unit.small_sagas import small_sagas
from unit.walk import HOLD, NOWHERE, Edge, Place, Walk

#: Places from which everything is tried, of each saga.
MOST = 300
#: In a cell: such a state was found, and the operator action was not tried in it.
NOT_TRIED = "not tried"

#: The columns of the page.
OF_A_STEP = (acts.RETRY, acts.SKIP, acts.SIGNAL)
OF_ALL = (acts.RETRY, acts.SKIP, acts.CANCEL, acts.COMPENSATE, acts.CLOSE, acts.START)
_STATUSES = [*Status]
#: What follows a step's name in a reason: some sagas' steps are named as an article is.
_AFTER_A_STEP = r"(?= (?:is|has|holds|took|waits for)\b|:|,|\)|$)"
_STEPS = [*StepStatus]

_HEAD = """# Operator actions in each state

Run `kantor trace ID`: if an incident is open, it says what to type. This page covers every case. Find the section for the transaction's **status**, then the row for its
**open incidents**. An incident of a step is in the section's second table, too. Trying is safe: a refused operator action changes nothing, and says why. Each
operator action takes `--why`: a `skip` without one is always refused.

The tables are generated. A program visits the states that small sagas can reach (together they use every feature of the language), tries each operator action in the
nearest 300 states of each saga, and records the outcome (`tests/unit/acts_page.py`; a test keeps this page equal to the result). [Coverage](#coverage)
says which states were found but not tried; `make acts STATES=20000` tries those, too.

## Incidents

| incident | what happened | what usually helps |
|---|---|---|
| `compensation_failed` | a compensation used up its attempts, or was refused for good | fix the service, `retry`; or reverse it by hand, `skip` |
| `after_pivot` | something failed after the pivot: there is no way back | fix it, `retry`; or do it by hand, `skip` |
| `no_answer` | the outcome of a step is unknown: no reply | find out. It happened: `skip --step`. It did not: `retry --step`, or `compensate` |
| `no_result` | the service of a task says that it is done, and did not publish its `result` | let it publish that; or `retry` asks again; or go on without, `skip --step` |
| `refused` | Kafka rejected a message: its topic is gone, is not writable, or does not accept messages of that size | fix the topic, `retry` |
| `expression` | a guard or field of the saga failed on this transaction's data | `skip`, or deploy the saga again and `retry` |
| `timer_failed` | the engine failed when a timeout was due | `retry` |
| `second_effect` | a step may have taken effect again after it was reversed | find out. If it did, `retry` reverses it; if not, `skip` |
| `after_close` | an effect became known after a person had closed the transaction | reverse it by hand, `skip` |
| `poison`, deferred | a message is unreadable; it and the messages after it wait | publish the schema, `retry`; or go on without the message, `skip` |
| `put_off_full` | 10,000 messages waited behind an unreadable one; later messages are lost to this transaction | find out what those messages were; `skip` |
| held | a person holds the saga: `kantor hold` | `kantor release`; other operator actions are refused until then |

## What each operator action does

- `retry` tries again. The same effect is not requested twice: the service knows the command by its idempotency key.
- `skip` records that a step, or its compensation, was done by hand. If messages are deferred, it **drops the first of them for good**.
- `cancel` reverses what has happened, as long as there is a way back: usually this is the one you want. `compensate` does the same, but if a pivot's
  outcome is unknown, it also records that the pivot **did not happen**: make sure of that first. (`cancel` is refused then.)
- `close` ends a transaction as it is, whatever its state. It **reverses nothing**, and nothing more is sent.
- `signal` gives a step the signal that it is waiting for; `start` starts a transaction whose start event came too late to start it (`--offset`: the journal offset of that message).

- Every incident has a way forward besides `close` (after the release, if the saga is held); a test finds one with `retry` and `skip` alone.
- `closed` is final. `skip` and `close` only mark its incidents as dealt with; `retry` is refused, except for an unreadable message.
- One effect is reversed once, however often you retry.

How to read a cell: a name is the **first transition** that the operator action makes, as recorded in the history. A number means that it is **refused**, for the reason with that number at
the end of the page. Where a cell has several entries, the saga and the other steps decide which one applies. The transitions: `command_sent`, `compensation_sent`, `asked`: a message is sent to
a service; `resumed`: the incident is closed, and what it blocked goes on (nothing, if the transaction has ended); `skipped`, `compensation_confirmed`: done by hand; `again_asked`:
the messages that were deferred are read again; `answered`: its parent is told again; `dropped`: the message is dropped; `succeeded`: it counts as an effect, and is reversed; `failed`: it counts as not happened; `ended`: the
transaction has ended. `not tried`: the state can be reached, but is not among the nearest. States that the program did not find have no row: below each table is a list of
them. Items of `each` behave like other steps, and have no rows of their own.
"""

#: All that may wait, one by one.
_WAITS = [
    "-", "after_close", "after_pivot", "compensation_failed", "deferred", "expression", "held", "no_answer", "no_result",
    "refused", "second_effect", "timer_failed",
]  # fmt: skip

_HOW_FAR = """## Coverage

For each small saga: how many states were found, and how many were tried. In a state that was found but not tried, the result of an operator action is unknown. *Way to an end*: states from which no end besides
`close` was seen, because every way leads to states that were not tried; *by people*: states whose incidents `retry` and `skip` alone were not seen to close, for the same
reason. No state without a way to an end was seen.

| saga | found | tried | left | way to an end not seen | by people not seen |
|---|---|---|---|---|---|
"""


class _Reasons:
    """Numbers for reasons why not, in the order in which the page has them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, reason: str) -> int:
        return self._numbers.setdefault(reason, len(self._numbers) + 1)

    def lines(self) -> list[str]:
        return [f"{number}. {reason}" for reason, number in self._numbers.items()]


def page(walks: Iterable[Walk]) -> str:
    """The whole of docs/acts.md."""
    rows, looked = Rows(), []
    for walk in walks:
        rows.add(walk)
        looked.append(_looked(walk))
    reasons = _Reasons()
    parts = [_HEAD]
    for status in _STATUSES:
        whole = {key[1]: cells for key, cells in rows.of_all.items() if key[0] is status}
        steps = {key[1:]: cells for key, cells in rows.of_steps.items() if key[0] is status}
        if not whole:
            parts.append(f"## {status}\n\nNo such state was found.\n")
            continue
        parts.append(f"## {status}\n\nOn the transaction (no `--step`):\n")
        parts.append(
            _table(("incidents",), [((name,), whole[name]) for name in sorted(whole)], OF_ALL, reasons)
        )
        parts.append(_not_found("with this incident alone", _WAITS, {one for one in whole if "," not in one}))
        if steps:
            keys = sorted(steps, key=lambda key: (_STEPS.index(key[0]), key[1]))
            parts.append("On one step (`--step`):\n")
            lines = [((str(step), incident or "-"), steps[step, incident]) for step, incident in keys]
            parts.append(_table(("step", "its incident"), lines, OF_A_STEP, reasons))
        parts.append(
            _not_found("with a step that is", [str(step) for step in _STEPS[1:]], {str(s) for s, _ in steps})
        )
    parts.append(
        "## Refusals\n\nSTEP stands for a step's name, ... for text that depends on the transaction.\n\n"
        + "\n".join(reasons.lines())
        + "\n"
    )
    parts.append(_HOW_FAR + "\n".join(looked) + "\n")
    return "\n".join(parts)


class Rows:
    """What is known of the operator actions: by what a row is about, by act, what came of it. A row that is empty is of a state that was
    found, and in which nothing was tried."""

    def __init__(self) -> None:
        self.of_steps: defaultdict[tuple[Status, StepStatus, str], _Cells] = defaultdict(
            lambda: defaultdict(set)
        )
        self.of_all: defaultdict[tuple[Status, str], _Cells] = defaultdict(lambda: defaultdict(set))

    def add(self, walk: Walk) -> None:
        for place in walk.places.values():
            self._add_place(place)
            for edge in place.edges:
                self._add_edge(edge)

    def _add_place(self, place: Place) -> None:
        """Its rows, though they may stay empty."""
        txn = place.txn
        hold = HOLD if place.is_held and txn.saga else ""
        _ = self.of_all[txn.status, _of_all(txn, hold)]
        for path in txn.steps:
            if not path.endswith("]"):
                _ = self.of_steps[txn.status, txn.steps[path].status, _of_step(txn, path)]

    def _add_edge(self, edge: Edge) -> None:
        if edge.act not in KINDS or edge.entry.step == NOWHERE:
            return
        if edge.act == acts.SKIP and not (edge.entry.payload or {}).get("why"):
            return  # refused everywhere
        txn, path = edge.before, edge.entry.step
        if not path:
            self.of_all[txn.status, _of_all(txn, edge.hold)][edge.act] |= _outcome(edge)
        elif path in txn.steps and not path.endswith("]"):
            self.of_steps[txn.status, txn.steps[path].status, _of_step(txn, path)][edge.act] |= _outcome(edge)


def _looked(walk: Walk) -> str:
    """A row of the last table."""
    found, tried = len(walk.places), len(walk.tried)
    _, unknown = to_an_end(walk)
    _, by_people = by_people_alone(walk)
    return f"| {walk.name} | {found} | {tried} | {found - tried or '-'} | {len(unknown) or '-'} | {len(by_people) or '-'} |"


def _not_found(what: str, words: Sequence[str], found: AbstractSet[str]) -> str:
    missing = [f"`{word}`" for word in words if word not in found]
    return f"No state was found {what}: {', '.join(missing)}.\n" if missing else ""


#: By act: what came of it.
_Cells = defaultdict[str, set[str]]


def _of_step(txn: Transaction, path: str) -> str:
    return _joined(one.kind for one in txn.incidents if one.step == path)


def _of_all(txn: Transaction, hold: str) -> str:
    waits = [one.kind for one in txn.incidents]
    if txn.put_off:
        waits.append("deferred")
    if txn.held or hold:
        waits.append("held")
    return _joined(waits) or "-"


def _joined(words: Iterable[str]) -> str:
    return ", ".join(sorted(set(words)))


def _outcome(edge: Edge) -> set[str]:
    """The transitions that it made, or why not (told by a space)."""
    made = [str(move.kind) for move in edge.moves if move.kind is not Kind.IGNORED]
    if made:
        return {" + ".join(dict.fromkeys(made[:1]))}
    return {_general(move.reason, edge.before) for move in edge.moves}


def _general(reason: str, txn: Transaction) -> str:
    """Without the names of this transaction."""
    found = reason.replace(HOLD, "...")
    for path in sorted(txn.steps, key=len, reverse=True):
        found = re.sub(rf"(?<![\w.]){re.escape(path)}{_AFTER_A_STEP}", "STEP", found)
    found = re.sub(r"\(STEP: .*?\), and its pivot", "(STEP: ...), and its pivot", found)
    return re.sub(r"it fails as before \(.*\):", "it fails as before (...):", found)


def _table(
    names: Sequence[str],
    rows: Sequence[tuple[Sequence[str], Mapping[str, set[str]]]],
    columns: Sequence[str],
    reasons: _Reasons,
) -> str:
    lines = ["| " + " | ".join([*names, *columns]) + " |", "|" + "---|" * (len(names) + len(columns))]
    for key, cells in rows:
        texts = [_cell(cells.get(column, set()), reasons) for column in columns]
        lines.append("| " + " | ".join([*key, *texts]) + " |")
    return "\n".join(lines) + "\n"


def _cell(outcomes: set[str], reasons: _Reasons) -> str:
    moves = sorted(one for one in outcomes if " " not in one)
    refusals = sorted(reasons.number(one) for one in sorted(outcomes) if " " in one)
    return ", ".join([*(f"`{move}`" for move in moves), *map(str, refusals)]) or NOT_TRIED


if __name__ == "__main__":
    print(page(Walk(name, small, MOST) for name, small in small_sagas().items()), end="")
