"""How the terminal says things: colours, signs."""

from __future__ import annotations

from kantor_orchestrator.core.transaction import Status, StepStatus
from kantor_orchestrator.view.status import ShownStatus

STATUS_STYLES = {
    Status.RUNNING.value: "cyan",
    Status.PARKED.value: "magenta",
    Status.COMPENSATING.value: "yellow",
    Status.COMPLETED.value: "green",
    Status.COMPENSATED.value: "blue",
    Status.CLOSED.value: "bright_black",
    ShownStatus.OBSERVED.value: "bright_black",
    ShownStatus.NOT_LOOKED_AT.value: "bold magenta",
}

#: Of a step: sign, colour.
STEP_STYLES = {
    StepStatus.PENDING.value: ("·", "bright_black"),
    StepStatus.ACTIVE.value: ("●", "cyan"),
    StepStatus.IN_DOUBT.value: ("?", "magenta"),
    StepStatus.SUCCEEDED.value: ("✔", "green"),
    StepStatus.FAILED.value: ("✘", "red"),
    StepStatus.SKIPPED.value: ("–", "bright_black"),
    StepStatus.COMPENSATING.value: ("↺", "yellow"),
    StepStatus.COMPENSATED.value: ("↺", "blue"),
    StepStatus.INCIDENT.value: ("!", "bold red"),
}

#: Of a message: sign, colour.
MESSAGE_STYLES = {
    "event": ("●", "green"),
    "command": ("▶", "cyan"),
    "compensation": ("◀", "yellow"),
    "timer": ("◷", "magenta"),
}
