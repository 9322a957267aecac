"""The legal transitions of a step as a diagram, drawn from the one table that the engine obeys (words-4).

python -m kantor_orchestrator.core.states    # what docs/states.md contains
"""

from __future__ import annotations

import sys

from kantor_orchestrator.core.transaction import TRANSITIONS, StepStatus


def mermaid() -> str:
    """The text of a Mermaid state diagram."""
    moves: dict[tuple[StepStatus, StepStatus], list[str]] = {}
    for kind, legal in TRANSITIONS.items():
        for before, after in legal.items():
            moves.setdefault((before, after), []).append(kind.value)
    order = list(StepStatus)
    lines = ["stateDiagram-v2", f"    [*] --> {StepStatus.PENDING}"]
    for (before, after), kinds in sorted(moves.items(), key=lambda one: [order.index(s) for s in one[0]]):
        lines.append(f"    {before} --> {after}: {', '.join(kinds)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(mermaid() + "\n")
