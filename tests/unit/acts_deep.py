"""``make acts STATES=20000``: the walk of ``test_decide_acts``, to as many states of each small saga. What is wrong is told, what
comes of an operator action that docs/acts.md does not have, and how far it looked. Exit status 1 if anything is wrong."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator

from unit.acts_checks import (
    OF_EVERY_EDGE,
    by_people_alone,
    carried_out_though_not_proposed,
    faults,
    refused_though_proposed,
    tell_place,
    to_an_end,
)
from unit.acts_page import MOST, OF_A_STEP, OF_ALL, Rows
from unit.small_sagas import small_sagas
from unit.walk import Walk

#: Of each kind of fault, and of a saga's news, as many are told.
_TOLD = 5
#: By a row of the page, and the operator action: what came of it.
Outcomes = dict[tuple[str, ...], set[str]]


def wrong(found: Walk) -> Iterator[str]:
    """All that the tests check of the nearest states."""
    for promise, broken in OF_EVERY_EDGE.items():
        yield from _first(promise, faults(found, broken))
    yield from _first("what is proposed is carried out", refused_though_proposed(found))
    yield from _first("what is carried out is proposed", carried_out_though_not_proposed(found))
    for what, (lost, _) in (
        ("a way to an end", to_an_end(found)),
        ("by people alone", by_people_alone(found)),
    ):
        yield from _first(what, [tell_place(place) for place in lost])


def _first(what: str, found: list[str]) -> list[str]:
    more = [f"{what}: and {len(found) - _TOLD} more"] if len(found) > _TOLD else []
    return [f"{what}: {one}" for one in found[:_TOLD]] + more


def outcomes(found: Walk) -> Outcomes:
    """As the page has them."""
    rows = Rows()
    rows.add(found)
    known: Outcomes = {}
    for (status, waits), cells in rows.of_all.items():
        known |= {(status, waits, act): cell for act, cell in cells.items() if act in OF_ALL}
    for (status, step, incident), cells in rows.of_steps.items():
        row = status, f"a step that is {step}", incident or "-"
        known |= {(*row, act): cell for act, cell in cells.items() if act in OF_A_STEP}
    return known


def walked(asked: tuple[str, int]) -> tuple[str, str, list[str], Outcomes]:
    """Of one saga: its name, how far it was looked, what is wrong, and what comes of the operator actions."""
    name, most = asked
    found = Walk(name, small_sagas()[name], most)
    ways = [len(unknown) for _, unknown in (to_an_end(found), by_people_alone(found))]
    far = f"{len(found.places)} states found, {len(found.tried)} tried"
    if any(ways):
        far += f"; {ways[0]} with no way to an end but by untried ones, {ways[1]} that people deal with by untried ones"
    return name, far, list(wrong(found)), outcomes(found)


def main() -> int:
    most = int(os.environ.get("STATES") or "20000")
    known: Outcomes = {}
    for name, small in small_sagas().items():
        _join(known, outcomes(Walk(name, small, MOST)))
    new: Outcomes = {}
    failed = 0
    asked = [(name, most) for name in small_sagas()]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for name, far, faults_, comes in pool.imap_unordered(walked, asked):
            print(f"{name}: {far}", flush=True)
            for fault in faults_:
                print(f"  {fault}", flush=True)
            failed += bool(faults_)
            _join(new, {key: cell - known.get(key, set()) for key, cell in comes.items()})
    news = sorted(f"{', '.join(key)}: {', '.join(sorted(cell))}" for key, cell in new.items() if cell)
    print(f"{len(news)} cells have more than docs/acts.md says, which is made of the nearest {MOST} states:")
    print("\n".join(f"  {one}" for one in news))
    print(f"{len(asked)} sagas, {failed} with faults")
    return 1 if failed else 0


def _join(into: Outcomes, more: Outcomes) -> None:
    for key, cell in more.items():
        into.setdefault(key, set()).update(cell)


if __name__ == "__main__":
    sys.exit(main())
