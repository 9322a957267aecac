"""A definition as SVG: layers from top to bottom, composites as boxes around what they hold.

Each group is laid out by itself (Sugiyama's way, in its simplest form): a box is one layer below the lowest of those
before it; an arrow that passes a layer gets a place in it; each layer is ordered by where its boxes' predecessors are.
A composite is a box as large as the layout of what it holds. Lengths are pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise

from kantor_orchestrator.definitions.diagram import Box, Edge, Group, picture
from kantor_orchestrator.definitions.model import SagaModel
from kantor_orchestrator.definitions.step_kinds import FORMS

_LINE, _PAD, _GAP, _LAYER = 17, 12, 28, 40
#: The width of a letter of the font below at its size; generous, since fonts differ.
_LETTER = 7.3
_NARROWEST = 120
#: How wide the place of an arrow is that passes a layer.
_LANE = 16

_STYLE = f"""
text{{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#1c2430}}
.t{{font-weight:700}}.m{{text-anchor:middle}}.h{{font-weight:700;font-size:14px}}
rect{{fill:#fff;stroke:#5b6b82;stroke-width:1.2}}
.begin rect,.end rect{{fill:#e8edf4}}
{"".join(f".{form.name}>rect{{{form.style}}}" for form in FORMS.values())}
.pivot>rect{{stroke-width:3;stroke:#1c2430}}.missing>rect{{stroke-dasharray:5 3}}
.e{{fill:none;stroke:#5b6b82;stroke-width:1.4}}
"""


_ARROWHEAD = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#5b6b82"/></marker></defs>'
)


@dataclass(frozen=True, slots=True)
class Mark:
    """What became of a step: a class for its box, a line of text."""

    style: str
    line: str


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where everything of a group is, from its own upper left corner. ``bottoms``: of the layer that a box is in;
    ``lanes``: the points that each arrow passes."""

    width: float
    height: float
    places: Mapping[str, tuple[float, float]]
    sizes: Mapping[str, tuple[float, float]]
    bottoms: Mapping[str, float]
    lanes: Mapping[Edge, list[tuple[float, float]]]
    inner: Mapping[str, _Layout]


def svg(saga: SagaModel) -> str:
    """The definition as an SVG document."""
    return _document(saga, None)


def svg_element(saga: SagaModel, marks: Mapping[str, Mark]) -> str:
    """The definition as an element of a page, which has the style: marked boxes bear their class and one more line."""
    return _document(saga, marks)


def _document(saga: SagaModel, marks: Mapping[str, Mark] | None) -> str:
    drawn = picture(saga)
    if marks is not None:
        drawn = replace(drawn, group=_marked(drawn.group, marks))
    layout = _laid_out(drawn.group)
    head = (drawn.title, *drawn.notes)
    top = _PAD + _LINE * len(head) + _PAD
    width = max(layout.width, *(_width(line) for line in head)) + 2 * _PAD
    height = top + layout.height + _PAD
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    label = escape(drawn.title)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">',
        *([f"<style>{_STYLE}</style>"] if marks is None else []),
        _ARROWHEAD,
        *(['<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>'] if marks is None else []),
    ]
    for number, line in enumerate(head):
        style = "h" if number == 0 else ""
        lines.append(_text(line, _PAD, _PAD + _LINE * (number + 0.8), style))
    lines += _drawn(drawn.group, layout, (width - layout.width) / 2, top)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _marked(group: Group, marks: Mapping[str, Mark]) -> Group:
    boxes = tuple(
        replace(
            box,
            kind=f"{box.kind} {mark.style}" if mark else box.kind,
            lines=(*box.lines, mark.line) if mark else box.lines,
            inner=_marked(box.inner, marks) if box.inner else None,
        )
        for box, mark in ((box, marks.get(box.id)) for box in group.boxes)
    )
    return Group(boxes, group.edges)


# -- layout


def _laid_out(group: Group) -> _Layout:
    inner = {box.id: _laid_out(box.inner) for box in group.boxes if box.inner is not None}
    sizes = {box.id: _size(box, inner.get(box.id)) for box in group.boxes}
    levels = _levels(group)
    layers: list[list[str]] = [[] for _ in range(max(levels.values(), default=0) + 1)]
    for box in group.boxes:
        layers[levels[box.id]].append(box.id)
    before: dict[str, list[str]] = {}
    passed: dict[Edge, list[str]] = {}
    for source, target in group.edges:
        last, passed[source, target] = source, []
        for level in range(levels[source] + 1, levels[target]):
            lane = f"{source}>{target}@{level}"
            layers[level].append(lane)
            sizes[lane] = (_LANE, 0.0)
            passed[source, target].append(lane)
            before.setdefault(lane, []).append(last)
            last = lane
        before.setdefault(target, []).append(last)
    _order(layers, before)
    return _placed(layers, sizes, passed, inner)


def _levels(group: Group) -> dict[str, int]:
    levels: dict[str, int] = {}
    for box in group.boxes:  # in topological order
        above = [levels[source] for source, target in group.edges if target == box.id]
        levels[box.id] = max(above, default=-1) + 1
    return levels


def _order(layers: Sequence[list[str]], before: Mapping[str, Sequence[str]]) -> None:
    """Each layer by the middle of what comes before, so that few arrows cross."""
    for above, layer in pairwise(layers):
        where = {id_: number for number, id_ in enumerate(above)}
        middle = {
            id_: sum(where[b] for b in before.get(id_, ()) if b in where) / max(1, len(before.get(id_, ())))
            for id_ in layer
        }
        layer.sort(key=lambda id_: middle[id_])


def _placed(
    layers: Sequence[list[str]],
    sizes: Mapping[str, tuple[float, float]],
    passed: Mapping[Edge, Sequence[str]],
    inner: Mapping[str, _Layout],
) -> _Layout:
    widths = [sum(sizes[id_][0] for id_ in layer) + _GAP * (len(layer) - 1) for layer in layers]
    width, y = max(widths, default=0.0), 0.0
    places: dict[str, tuple[float, float]] = {}
    for layer, wide in zip(layers, widths, strict=True):
        x, tall = (width - wide) / 2, max((sizes[id_][1] for id_ in layer), default=0.0)
        for id_ in layer:
            places[id_] = (x, y)
            x += sizes[id_][0] + _GAP
        y += tall + _LAYER
    bottoms = {id_: y0 + _tall(layers, sizes, id_) for id_, (_, y0) in places.items()}
    lanes = {
        edge: [
            point
            for id_ in ids
            for point in (
                (places[id_][0] + _LANE / 2, places[id_][1]),
                (places[id_][0] + _LANE / 2, bottoms[id_]),
            )
        ]
        for edge, ids in passed.items()
    }
    return _Layout(width, max(0.0, y - _LAYER), places, sizes, bottoms, lanes, inner)


def _tall(layers: Sequence[list[str]], sizes: Mapping[str, tuple[float, float]], id_: str) -> float:
    """The height of the layer that something is in."""
    return next(max(sizes[other][1] for other in layer) for layer in layers if id_ in layer)


def _size(box: Box, inner: _Layout | None) -> tuple[float, float]:
    width = max(_NARROWEST, *(_width(line) for line in (box.title, *box.lines))) + 2 * _PAD
    height = float(_LINE * (1 + len(box.lines)) + 2 * _PAD)
    if inner is not None:
        width, height = max(width, inner.width + 2 * _PAD), height + inner.height + _PAD
    return width, height


def _width(text: str) -> float:
    return len(text) * _LETTER


# -- drawing


def _drawn(group: Group, layout: _Layout, x: float, y: float) -> Iterator[str]:
    for source, target in group.edges:
        yield _arrow(layout, source, target, x, y)
    for box in group.boxes:
        (left, top), (width, height) = layout.places[box.id], layout.sizes[box.id]
        left, top = left + x, top + y
        marks = " ".join(name for name, has in (("pivot", box.pivot), ("missing", box.may_be_missing)) if has)
        round_ = height / 2 if box.kind in ("begin", "end") else 6
        yield f'<g class="{f"{box.kind} {marks}".strip()}"><title>{escape(box.id)}</title>'
        yield f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="{round_:g}"/>'
        if box.kind in ("begin", "end"):
            yield _text(box.title, left + width / 2, top + _PAD + _LINE * 0.75, "t m")
        else:
            for number, line in enumerate((box.title, *box.lines)):
                yield _text(line, left + _PAD, top + _PAD + _LINE * (number + 0.75), "" if number else "t")
        if box.inner is not None:
            below = layout.inner[box.id]
            middle = left + (width - below.width) / 2
            yield from _drawn(box.inner, below, middle, top + height - below.height - _PAD)
        yield "</g>"


def _arrow(layout: _Layout, source: str, target: str, x: float, y: float) -> str:
    """Straight down to the end of its layer, past taller boxes beside it, and only then to the side."""
    (left, top), (width, height) = layout.places[source], layout.sizes[source]
    middle = left + width / 2
    points = [(middle, top + height)]
    if top + height < layout.bottoms[source]:
        points.append((middle, layout.bottoms[source]))
    points += layout.lanes[source, target]
    (left, top), (width, _) = layout.places[target], layout.sizes[target]
    points.append((left + width / 2, top))
    path = f"M{points[0][0] + x:g} {points[0][1] + y:g}"
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = (y1 - y0) / 2
        path += f"C{x0 + x:g} {y0 + y + bend:g} {x1 + x:g} {y1 + y - bend:g} {x1 + x:g} {y1 + y:g}"
    return f'<path class="e" d="{path}" marker-end="url(#a)"/>'


def _text(text: str, x: float, y: float, style: str) -> str:
    named = f' class="{style}"' if style else ""
    return f'<text x="{x:g}" y="{y:g}"{named}>{escape(text)}</text>'
