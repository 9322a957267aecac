"""A transaction's trace in the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from kantor_orchestrator import voice
from kantor_orchestrator.cli.output import printable
from kantor_orchestrator.cli.words import MESSAGE_STYLES, STATUS_STYLES, STEP_STYLES
from kantor_orchestrator.core.act_kinds import KINDS, RELEASE
from kantor_orchestrator.core.transaction import Kind, StepStatus
from kantor_orchestrator.view.shown import Step
from kantor_orchestrator.view.status import ShownStatus, in_words
from kantor_orchestrator.view.trace import Message, Move, Trace
from kantor_orchestrator.words import clock, date_and_clock, duration, now

#: Columns below which the bars and the separate gaps are left out.
NARROW = 90
_BAR = 26
_DIM = "bright_black"


def print_trace(console: Console, trace: Trace) -> None:
    narrow = console.width < NARROW
    trace = printable(trace)
    console.print(_header(trace))
    if trace.steps:
        console.print(_title("Steps"))
        console.print(Padding(_steps(trace, narrow), (0, 1)))
    for incident in trace.incidents:
        console.print(_incident_line(incident.kind, incident.step, incident.reason, incident.closed_at))
    if trace.remedies:
        console.print(Padding(_remedies(trace), (0, 0, 0, 4)))
    console.print(_title("Timeline"))
    console.print(Padding(_timeline(trace, narrow), (0, 1)))


def _title(text: str) -> Text:
    return Text(f"\n {text}", style="bold")


def _header(trace: Trace) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=_DIM, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("transaction", Text(trace.transaction_id, style="bold"))
    for name, value in trace.keys:
        grid.add_row(name, value)
    if trace.status == ShownStatus.OBSERVED:
        grid.add_row("saga", "none describes it; it is only observed")
    elif trace.status == ShownStatus.NOT_LOOKED_AT:
        grid.add_row("saga", "not known yet: no engine has looked at it")
    elif not trace.ended_at:
        grid.add_row("waiting on", Text(", ".join(trace.waiting_on), style="bold"))
    if trace.unread:
        told = f"a decision could not be read: {trace.unread}; then `kantor view rebuild`"
        grid.add_row("may be wrong", Text(told, style="bold red"))
    if trace.held:
        grid.add_row("on hold", Text(trace.held, style="bold yellow"))
    if trace.reason:
        grid.add_row("because", trace.reason)
    elif trace.last_error and not trace.unread:
        grid.add_row("last error", trace.last_error)
    grid.add_row("started", date_and_clock(trace.started_at))
    if trace.ended_at:
        grid.add_row("took", duration(trace.ended_at - trace.started_at))
    else:
        grid.add_row("last transition", f"{duration(now() - trace.updated_at)} ago")
    style = STATUS_STYLES.get(trace.status, "white")
    name = f"{trace.saga} v{trace.version}" if trace.saga else "transaction"
    return Panel(
        grid,
        title=Text.assemble(
            (f" {name} ", "bold"), ("─ ", style), (f"{in_words(trace.status)} ", f"bold {style}")
        ),
        title_align="left",
        border_style=style,
        box=box.ROUNDED,
    )


# -- steps


def _steps(trace: Trace, narrow: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, width=1)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    if not narrow:
        table.add_column(no_wrap=True, width=_BAR)
    table.add_column(overflow="fold", style=_DIM)
    end = trace.ended_at or max(trace.updated_at, trace.started_at)
    for step in trace.steps:
        sign, style = STEP_STYLES.get(step.status, ("·", "white"))
        took = _took(step)
        cells: list[Text | str] = [
            Text(sign, style=style),
            Text(step.name, style="bold"),
            Text(step.status, style=style),
            took,
        ]
        if not narrow:
            cells.append(_bar(step, trace.started_at, end))
        table.add_row(*cells, _note(step))
    return table


def _took(step: Step) -> str:
    if not step.started_at:
        return ""
    if step.ended_at:
        return duration(step.ended_at - step.started_at)
    return f"{duration(now() - step.started_at)}…"


def _note(step: Step) -> str:
    parts = [step.owner]
    if step.attempts > 1:
        parts.append(f"{step.attempts} attempts")
    if step.code or step.reason:
        parts.append(voice.why(step.code, step.reason))
    if step.compensation_attempts:
        parts.append(_compensation(step))
    if step.timer:
        parts.append(f"{_TIMERS.get(step.timer, step.timer)} {clock(step.due)}")
    if step.status == "pending" and step.after:
        parts.append(f"after {', '.join(step.after)}")
    return "; ".join(part for part in parts if part)


_TIMERS = {
    "timeout": "must answer by",
    "confirmation": "must confirm by",
    "retry": "next attempt at",
    "compensation_retry": "next attempt at",
}


def _compensation(step: Step) -> str:
    by = f" by {step.compensator}" if step.compensator != step.owner else ""
    said = (
        f"compensation given up{by}" if step.status == StepStatus.INCIDENT else f"compensation requested{by}"
    )
    if step.compensation_ended_at:
        said = f"compensated{by} in {duration(step.compensation_ended_at - step.compensation_started_at)}"
    return said + (f", {step.compensation_attempts} attempts" if step.compensation_attempts > 1 else "")


def _bar(step: Step, start: int, end: int) -> Text:
    """When the step and its compensation were under way, within the transaction's time."""
    cells = [("╌", _DIM)] * _BAR
    span = max(1, end - start)

    def paint(begin: int, finish: int, style: str) -> None:
        first = min(_BAR - 1, max(0, (begin - start) * _BAR // span))
        last = min(_BAR, max(first + 1, -(-(finish - start) * _BAR // span)))
        for place in range(first, last):
            cells[place] = ("━", style)

    if step.started_at:
        paint(step.started_at, step.ended_at or end, "red" if step.status == "failed" else "green")
    if step.compensation_started_at:
        paint(step.compensation_started_at, step.compensation_ended_at or end, "yellow")
    return Text.assemble(*cells)


def _remedies(trace: Trace) -> Text:
    """What a person may type now."""
    said = Text()
    for remedy in trace.remedies:
        step = f" --step {remedy.step}" if remedy.step else ""
        whom = f"--saga {trace.saga}" if remedy.act == RELEASE else f"{trace.transaction_id}{step}"
        why = "EVIDENCE" if remedy.act in KINDS and KINDS[remedy.act].is_by_evidence else "..."
        said.append(f"kantor {remedy.act} {whom} --why {why}\n").append(f"  {remedy.means}\n", style=_DIM)
    said.rstrip()
    return said


def _incident_line(kind: str, step: str, reason: str, closed_at: int) -> Text:
    kind = kind.replace("_", " ")
    where = f" {step}" if step else ""
    if closed_at:
        return Text(
            f"\n  ! incident{where}: {kind}: {reason}; closed {date_and_clock(closed_at)}", style=_DIM
        )
    return Text(f"\n  ! open incident{where}: {kind}: {reason}", style="bold red")


# -- timeline


def _timeline(trace: Trace, narrow: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style=_DIM)
    if not narrow:
        table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, width=1)
    table.add_column(overflow="fold", ratio=1)
    last = 0
    for message in trace.timeline:
        gap = _gap(message.at - last if last else 0)
        last = message.at
        sign, style = MESSAGE_STYLES.get(message.kind, ("■", "magenta"))
        lines = list(_lines(message, style))
        if narrow:
            table.add_row(Group(clock(message.at), gap), Text(sign, style=style), Group(*lines))
        else:
            table.add_row(clock(message.at), gap, Text(sign, style=style), Group(*lines))
    return table


def _gap(milliseconds: int) -> Text:
    if milliseconds <= 0:
        return Text("")
    style = _DIM if milliseconds < 1_000 else "yellow" if milliseconds < 60_000 else "bold yellow"
    return Text(f"+{duration(milliseconds)}", style=style)


def _lines(message: Message, style: str) -> Iterator[Text]:
    yield _headline(message, style)
    places = [message.origin]
    if message.journal:
        places.append("journal " + message.journal.partition("/")[2])
    elif not message.origin:
        places.append(
            "not seen on a cmd.* topic"
        )  # never, if it is sent to another one, as a child's start is
    yield Text("  ".join(place for place in places if place), style=_DIM, overflow="fold")
    for move in message.moves:
        if move.kind not in (Kind.COMMAND_SENT, Kind.COMPENSATION_SENT):  # a line of its own says it
            yield _told(move)


def _headline(message: Message, style: str) -> Text:
    name = message.type if "." in message.type else (message.type or message.kind).replace("_", " ")
    line = Text(name, style="bold" if message.kind == "event" else f"bold {style}")
    facts = []
    if message.kind == "timer":
        facts.append(f"of {message.step}" if message.step else "of the saga")
    elif message.kind == "compensation":
        facts.append(f"reverses {message.step}")
    elif message.kind == "command" and message.step:
        facts.append(f"for {message.step}")
    elif message.kind == "act":
        facts += _deed(message)
    elif message.source:
        facts.append(f"from {message.source}")
    if message.attempt > 1:
        facts.append(f"attempt {message.attempt}")
    if message.is_repeat:
        facts.append("a repeat: changes nothing")
    if message.seen > 1:
        facts.append(f"journaled {message.seen} times")
    if message.detail and message.kind != "act":
        facts.append(message.detail)
    if facts:
        line.append(f"  {', '.join(facts)}", style=_DIM)
    return line


def _deed(message: Message) -> list[str]:
    """Who did what to which step, and why. What can't be read is shown as it is."""
    try:
        found = json.loads(message.detail)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return [message.detail] if message.detail else []
    who, step, why = (str(found.get(part) or "") for part in ("actor", "step", "why"))
    act = str(found.get("act") or "")
    return [f"{act} {step}".strip(), *([f"by {who}"] if who else []), *([why] if why else [])]


#: By kind, where it is not dim.
_TONES = {
    Kind.STARTED: "cyan",
    Kind.ACTIVATED: "cyan",
    Kind.SUCCEEDED: "green",
    Kind.FAILED: "red",
    Kind.DOUBTED: "magenta",
    Kind.RETRY_SCHEDULED: "yellow",
    Kind.COMPENSATION_STARTED: "yellow",
    Kind.COMPENSATION_RETRY_SCHEDULED: "yellow",
    Kind.COMPENSATION_CONFIRMED: "blue",
    Kind.COMPENSATION_FAILED: "bold red",
    Kind.INCIDENT_OPENED: "bold red",
    Kind.REOPENED: "yellow",
}


def _told(move: Move) -> Text:
    style = f"bold {STATUS_STYLES.get(move.status, 'white')}" if move.kind == Kind.ENDED else ""
    return Text(f"└ {voice.sentence(move)}", style=style or _TONES.get(Kind(move.kind), _DIM))
