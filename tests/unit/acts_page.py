"""docs/acts.md: what each act of a person does in each state, found by trying it (``walk``).

PYTHONPATH=tests python -m unit.acts_page > docs/acts.md
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from kantor_orchestrator.core import acts
from kantor_orchestrator.core.transaction import Kind, Status, StepStatus, Transaction
from unit.small_sagas import small_sagas
from unit.walk import HOLD, NOWHERE, Edge, Walk

#: Places from which everything is tried, of each saga.
MOST = 300

_OF_A_STEP = (acts.RETRY, acts.SKIP, acts.SIGNAL)
_OF_ALL = (acts.RETRY, acts.SKIP, acts.CANCEL, acts.COMPENSATE, acts.CLOSE, acts.START)
_STATUSES = [*Status]
#: What follows a step's name in a reason: some sagas' steps are named as an article is.
_AFTER_A_STEP = r"(?= (?:is|holds|took|waits for no)\b|:|,|\)|$)"
_STEPS = [*StepStatus]

_HEAD = """# What people may do, and when

What `kantor retry | skip | signal | cancel | compensate | close | start` do in each state of a transaction. Nobody wrote these tables: a
program walks every state that small sagas can reach (all that a saga can have is in one of them), tries each act there, and writes down what came of it
(`tests/unit/acts_page.py`; a test keeps this page equal to what it finds).

How to read a cell: **the moves** that the act makes, as `kantor trace` shows them, where it is carried out; **a number** where it is refused, with the reason that the
person reads below, in [Refusals](#refusals); both where it depends on more than the row says: the saga, the rest of the transaction. A refused act changes nothing. Where a saga has no step in a state, there is no row.

- Every incident has a way forward besides `close`; a test looks for the way from each of these states, by `retry` and `skip` alone.
- `closed` is final: no act sends anything any more. Acts on its incidents say that they are dealt with.
- One effect is reversed once, whatever is tried again.
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
    of_steps: defaultdict[tuple[Status, StepStatus, str], _Cells] = defaultdict(lambda: defaultdict(set))
    of_all: defaultdict[tuple[Status, str], _Cells] = defaultdict(lambda: defaultdict(set))
    for walk in walks:
        for edge in walk.edges:
            if edge.act not in acts.ACTS or edge.entry.step == NOWHERE:
                continue
            txn, path = edge.before, edge.entry.step
            if not path:
                of_all[txn.status, _of_all(edge)][edge.act] |= _outcome(edge)
            elif path in txn.steps and not path.endswith("]"):
                incident = _joined(one.kind for one in txn.incidents if one.step == path)
                of_steps[txn.status, txn.steps[path].status, incident][edge.act] |= _outcome(edge)
    reasons = _Reasons()
    parts = [_HEAD]
    for status in _STATUSES:
        whole = {key[1]: cells for key, cells in of_all.items() if key[0] is status}
        steps = {key[1:]: cells for key, cells in of_steps.items() if key[0] is status}
        if not whole:
            continue
        parts.append(f"## {status}\n\nOn the transaction (no `--step`):\n")
        parts.append(
            _table(("what waits",), [((name,), whole[name]) for name in sorted(whole)], _OF_ALL, reasons)
        )
        if steps:
            rows = sorted(steps, key=lambda key: (_STEPS.index(key[0]), key[1]))
            parts.append("On one step (`--step`):\n")
            keys = [((str(step), incident or "-"), steps[step, incident]) for step, incident in rows]
            parts.append(_table(("step", "its incident"), keys, _OF_A_STEP, reasons))
    parts.append(
        "## Refusals\n\nSTEP is the step's name, N a number, ... a text of somebody's own.\n\n"
        + "\n".join(reasons.lines())
        + "\n"
    )
    return "\n".join(parts)


#: By act: what came of it.
_Cells = defaultdict[str, set[str]]


def _of_all(edge: Edge) -> str:
    txn = edge.before
    waits = [one.kind for one in txn.incidents]
    if txn.put_off:
        waits.append("put off")
    if txn.held or edge.hold:
        waits.append("held")
    return _joined(waits) or "-"


def _joined(words: Iterable[str]) -> str:
    return ", ".join(sorted(set(words)))


def _outcome(edge: Edge) -> set[str]:
    """The moves that it made, or why not (told by a space)."""
    made = [str(move.kind) for move in edge.moves if move.kind is not Kind.IGNORED]
    if made:
        return {" + ".join(dict.fromkeys(made[:1]))}
    return {_general(move.reason, edge.before) for move in edge.moves}


def _general(reason: str, txn: Transaction) -> str:
    """Without the names of this transaction."""
    found = reason.replace(HOLD, "...")
    for path in sorted(txn.steps, key=len, reverse=True):
        found = re.sub(rf"(?<![\w.]){re.escape(path)}{_AFTER_A_STEP}", "STEP", found)
    return re.sub(r"\d+", "N", found)


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
    return ", ".join([*(f"`{move}`" for move in moves), *map(str, refusals)]) or "-"


if __name__ == "__main__":
    print(page(Walk(small, MOST) for small in small_sagas().values()), end="")
