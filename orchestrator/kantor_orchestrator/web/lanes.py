"""The swim lanes: who said what when, a lane for each service, with gaps and durations. Pure: numbers in, SVG out.

Time is not drawn to scale: one day of waiting would leave no room for what happened in the milliseconds before. A gap takes
room by its logarithm and is labelled with its length. Beyond ``MOST_DOTS`` messages the lanes show how much was said, to
scale, in ``BINS`` parts: a picture of 5,000 dots tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10, sqrt

from markupsafe import Markup

from kantor_orchestrator.view.shown import Step
from kantor_orchestrator.view.trace import Message, Trace
from kantor_orchestrator.voice import MESSAGE_SIGNS
from kantor_orchestrator.web.words import plain
from kantor_orchestrator.words import duration

MOST_DOTS, BINS = 300, 120
#: Pixels: of the names; of a lane; above the first; beside the last dot; of a gap, at least and at most.
_NAMES, _LANE, _TOP, _SIDE, _NEAR, _FAR = 150, 46, 34, 24, 16, 150
_WIDEST_NAME = 20
#: Of the picture, at least: few messages are drawn apart.
_WIDTH = 1_200
#: A gap is labelled if it is so wide.
_LABEL = 46


@dataclass(frozen=True, slots=True)
class _Place:
    x: float
    y: float


def lanes_of(story: Trace) -> list[str]:
    """Who takes part, in the order of appearance; Kantor is the last."""
    found = dict.fromkeys(_who(message) for message in story.timeline)
    found |= dict.fromkeys(step.owner for step in story.steps if step.started_at and step.owner)
    kantor = [name for name in found if name == "kantor"]
    return [name for name in found if name and name != "kantor"] + kantor


def _who(message: Message) -> str:
    return "a person" if message.kind == "act" else message.source or "kantor"


def swimlanes(story: Trace) -> Markup:
    """An SVG element; empty if nobody has said anything."""
    names = lanes_of(story)
    if not names or not story.timeline:
        return Markup("")
    if len(story.timeline) > MOST_DOTS:
        return _binned(story, names)
    scale = _Scale(story)
    rows = {name: _TOP + _LANE * number + _LANE / 2 for number, name in enumerate(names)}
    width, height = scale.width, _TOP + _LANE * len(names) + 8
    parts = [*_frame(names, rows, width), *scale.labels(height)]
    parts += _bars(story.steps, rows, scale)
    places = {id(m): _Place(scale.x(m.at, n), rows[_who(m)]) for n, m in enumerate(story.timeline)}
    parts += _arrows(story.timeline, places)
    parts += [_dot(message, places[id(message)]) for message in story.timeline]
    return _svg(
        parts, width, height, f"{len(story.timeline)} messages of {len(names)} participants over time"
    )


class _Scale:
    """Where a moment is. Messages of the same millisecond lie side by side."""

    def __init__(self, story: Trace) -> None:
        times = [message.at for message in story.timeline]
        self._times = times
        self._xs = [float(_NAMES + _SIDE)]
        self.gaps: list[tuple[float, float, int]] = []
        gaps = [max(0, after - before) for before, after in pairwise(times)]
        wides = [min(_FAR, _NEAR + 26 * log10(1 + gap / 4)) for gap in gaps]
        room = _WIDTH - _NAMES - 4 * _SIDE
        stretch = min(4.0, max(1.0, room / sum(wides))) if wides else 1.0
        for gap, wide in zip(gaps, wides, strict=True):
            self.gaps.append((self._xs[-1], self._xs[-1] + wide * stretch, gap))
            self._xs.append(self._xs[-1] + wide * stretch)
        self.width = max(float(_WIDTH), self._xs[-1] + _SIDE * 2)

    def x(self, at: int, number: int | None = None) -> float:
        """Of a message, by its number; else of any moment."""
        if number is not None:
            return self._xs[number]
        later = next((n for n, time in enumerate(self._times) if time >= at), None)
        if later is None:
            return self._xs[-1] + _SIDE
        if later == 0 or self._times[later] == at:
            return self._xs[later]
        before, after = self._times[later - 1], self._times[later]
        share = (at - before) / (after - before)
        return self._xs[later - 1] + share * (self._xs[later] - self._xs[later - 1])

    def labels(self, height: float) -> Iterator[Markup]:
        for left, right, gap in self.gaps:
            if gap and right - left >= _LABEL:
                yield Markup('<text class="gap" x="{:.0f}" y="20">+{}</text>').format(
                    (left + right) / 2, duration(gap)
                )
            yield Markup('<line class="tick" x1="{:.0f}" x2="{:.0f}" y1="26" y2="{:.0f}"/>').format(
                right, right, height - 8
            )


def _frame(names: Sequence[str], rows: dict[str, float], width: float) -> Iterator[Markup]:
    for name in names:
        shown = plain(name)
        cut = shown if len(shown) <= _WIDEST_NAME else f"{shown[: _WIDEST_NAME - 1]}…"
        y = rows[name]
        yield Markup('<line class="lane" x1="{}" x2="{:.0f}" y1="{:.0f}" y2="{:.0f}"/>').format(
            _NAMES, width, y, y
        )
        yield Markup('<text class="who" x="0" y="{:.0f}"><title>{}</title>{}</text>').format(
            y + 4, shown, cut
        )


def _bars(steps: Sequence[Step], rows: dict[str, float], scale: _Scale) -> Iterator[Markup]:
    """How long each step took, on the lane of who had to do it."""
    for step in steps:
        owner = step.compensator or step.owner
        was = step.status if not step.compensation_started_at else "" if step.code else "succeeded"
        back = step.status if step.status == "incident" else "compensated"
        spans = (
            (step.owner, step.started_at, step.ended_at, was, step.name),
            (owner, step.compensation_started_at, step.compensation_ended_at, back, f"{step.name} reversed"),
        )
        for owner, start, end, status, name in spans:
            if not start or owner not in rows:
                continue
            left, right = scale.x(start), scale.x(end) if end else scale.width - _SIDE
            long = duration(end - start) if end else "not over"
            yield Markup(
                '<rect class="bar s-{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="14" rx="7"><title>{}: {}</title></rect>'
            ).format(status, left, rows[owner] - 7, max(6.0, right - left), plain(name), long)


def _arrows(timeline: Sequence[Message], places: dict[int, _Place]) -> Iterator[Markup]:
    """From what caused something to what it caused."""
    by_id = {message.id: message for message in reversed(timeline) if message.id}
    for message in timeline:
        cause = by_id.get(message.causation_id)
        if cause is None or cause is message:
            continue
        start, end = places[id(cause)], places[id(message)]
        middle = (start.x + end.x) / 2
        yield Markup(
            '<path class="cause" d="M{:.1f} {:.1f}C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}"/>'
        ).format(start.x, start.y, middle, start.y, middle, end.y, end.x, end.y)


def _dot(message: Message, place: _Place) -> Markup:
    kind = message.kind if message.kind in MESSAGE_SIGNS else "other"
    label = Markup("<title>{} {} ({})</title>").format(message.kind, plain(message.type), _who(message))
    if kind in ("command", "compensation"):
        points = "{0},{2} {1},{3} {0},{4}" if kind == "command" else "{1},{2} {0},{3} {1},{4}"
        at = (place.x - 6, place.x + 6, place.y - 6, place.y, place.y + 6)
        return Markup('<polygon class="dot k-{}" points="{}">{}</polygon>').format(
            kind, points.format(*(f"{n:.1f}" for n in at)), label
        )
    return Markup('<circle class="dot k-{}" cx="{:.1f}" cy="{:.1f}" r="5.5">{}</circle>').format(
        kind, place.x, place.y, label
    )


def _binned(story: Trace, names: Sequence[str]) -> Markup:
    rows = {name: _TOP + _LANE * number + _LANE / 2 for number, name in enumerate(names)}
    first = min(message.at for message in story.timeline)
    last = max(message.at for message in story.timeline)
    counts: dict[tuple[str, int], int] = {}
    for message in story.timeline:
        place = _who(message), (message.at - first) * (BINS - 1) // max(1, last - first)
        counts[place] = counts.get(place, 0) + 1
    width, height, most = float(_WIDTH), _TOP + _LANE * len(names) + 8, max(counts.values())
    step = (width - _NAMES - 2 * _SIDE) / BINS
    parts = [*_frame(names, rows, width)]
    parts.append(
        Markup('<text class="gap first" x="{}" y="20">{} in all</text>').format(
            _NAMES + _SIDE, duration(last - first)
        )
    )
    for (name, number), count in counts.items():
        x, radius = _NAMES + _SIDE + number * step, 2 + 14 * sqrt(count / most)
        parts.append(
            Markup(
                '<circle class="dot k-event many" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{}: {} messages</title></circle>'
            ).format(x, rows[name], radius, plain(name), count)
        )
    return _svg(
        parts, width, height, f"{len(story.timeline)} messages of {len(names)} participants over time"
    )


def _svg(parts: Sequence[Markup], width: float, height: float, label: str) -> Markup:
    return Markup(
        '<svg class="lanes" role="img" aria-label="{}" viewBox="0 0 {:.0f} {:.0f}" width="{:.0f}" height="{:.0f}">{}</svg>'
    ).format(label, width, height, width, height, Markup("").join(parts))
