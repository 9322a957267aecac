"""A definition as a picture: boxes and arrows, as Mermaid's text here, as SVG in ``diagram_svg``.

Boxes are steps, boxes in boxes are composites; an arrow means "then". The text of a definition is anybody's: each form
escapes it for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from kantor_orchestrator.definitions import durations
from kantor_orchestrator.definitions.model import Compensation, SagaModel, StepModel
from kantor_orchestrator.definitions.step_kinds import FORMS
from kantor_orchestrator.definitions.tree import Node, Tree

#: Beyond it a text is cut: expressions may be as long as they like.
_WIDEST = 64

#: The boxes that are no steps.
BEGIN, END = "(begin)", "(end)"

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Box:
    """A step, or where the saga begins or ends. ``lines`` below its title; ``inner``: what a composite holds."""

    id: str
    title: str
    lines: tuple[str, ...] = ()
    kind: str = "event"
    pivot: bool = False
    may_be_missing: bool = False
    inner: Group | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Boxes in topological order, and the arrows between them, by id."""

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    title: str
    notes: tuple[str, ...]
    group: Group


def picture(saga: SagaModel) -> Picture:
    """What there is to draw of a saga that has passed ``check``."""
    tree = Tree(saga)
    inner = _group(tree, None)
    begins = [box.id for box in inner.boxes if all(box.id != to for _, to in inner.edges)]
    ends = [box.id for box in inner.boxes if all(box.id != source for source, _ in inner.edges)]
    begin = Box(BEGIN, saga.starts_on, kind="begin")
    done = saga.ends_with.get("completed")
    end = Box(END, done.type if done else "completed", kind="end")
    edges = (*((BEGIN, id_) for id_ in begins), *inner.edges, *((id_, END) for id_ in ends))
    group = Group((begin, *inner.boxes, end), edges)
    return Picture(f"{saga.saga} version {saga.version}", tuple(_notes(saga)), group)


def _notes(saga: SagaModel) -> Iterator[str]:
    if saga.deadline is not None:
        yield f"deadline {durations.text(saga.deadline)}"
    if saga.mode != "enforce":
        yield f"mode {saga.mode}"
    if saga.enforce is not None:
        yield f"enforced for {saga.enforce:.4g} of all transactions"
    if saga.cancel_on is not None:
        yield _cut(f"cancelled by {saga.cancel_on.event} until {saga.cancel_on.until} has ended")
    for status, command in saga.ends_with.items():
        if status != "completed":
            yield _cut(f"{status}: {command.type}")


def _group(tree: Tree, parent: Node | None) -> Group:
    nodes = [node for node in tree.ordered(parent) if node.parent is parent]
    edges = [
        (tree.children(parent)[before].path, node.path)
        for node in nodes
        for before in tree.graph(parent)[node.name]
    ]
    if parent is not None and parent.step.in_order and parent.step.each is None and parent.step.need:
        paths = [node.path for node in nodes]
        edges += [pair for pair in pairwise(paths) if pair not in edges]
    return Group(tuple(_box(tree, node) for node in nodes), tuple(edges))


def _box(tree: Tree, node: Node) -> Box:
    step = node.step
    return Box(
        id=node.path,
        title=node.name,
        lines=tuple(_cut(line) for line in _lines(step)),
        kind=step.kind,
        pivot=step.pivot,
        may_be_missing=node.may_be_missing,
        inner=_group(tree, node) if step.steps else None,
    )


def _lines(step: StepModel) -> Iterator[str]:
    if step.when is not None:
        yield f"when {step.when}"
    yield from step.form.drawn(step)
    marks = [word for word in ("optional", "pivot") if getattr(step, word)]
    if step.timeout is not None:
        marks.append(f"within {durations.text(step.timeout)}")
    if step.retry.attempts > 1:
        marks.append(f"{step.retry.attempts} attempts")
    if marks:
        yield ", ".join(marks)
    if step.in_doubt is not None:
        yield f"in doubt: {step.doubt} {step.in_doubt.ask.type if step.in_doubt.ask else ''}".rstrip()
    if step.compensate_with is not None:
        yield f"reversed by {_reversal(step.compensate_with)}"


def _reversal(compensation: Compensation) -> str:
    if compensation.call is not None:
        return f"{compensation.call.method} {compensation.call.url}"
    return f"task: {compensation.task.title}" if compensation.task else compensation.command or ""


def _cut(text: str) -> str:
    """On one line, not too wide, without what no printer prints."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return plain if len(plain) <= _WIDEST else f"{plain[: _WIDEST - 1]}…"


# -- Mermaid

#: Around the text of the boxes that are no steps.
_ROUND = ("([", "])")
_STYLES = (
    "classDef pivot stroke-width:3px",
    "classDef missing stroke-dasharray:5 3",
)


def mermaid(saga: SagaModel) -> str:
    """The definition as a Mermaid flowchart."""
    drawn = picture(saga)
    notes = " · ".join((drawn.title, *drawn.notes))
    title = notes.replace("\\", "\\\\").replace('"', '\\"')
    lines = ["---", f'title: "{title}"', "---", "flowchart TD", *_mermaid_group(drawn.group, "  ")]
    lines += [f"  {style}" for style in _STYLES]
    return "\n".join(lines) + "\n"


def _mermaid_group(group: Group, indent: str) -> Iterator[str]:
    for box in group.boxes:
        text = "<br/>".join(_mermaid_text(line) for line in (box.title, *box.lines))
        if box.inner is not None:
            yield f'{indent}subgraph {_mermaid_id(box.id)}["{text}"]'
            yield from _mermaid_group(box.inner, indent + "  ")
            yield f"{indent}end"
        else:
            opens, closes = FORMS[box.kind].brackets if box.kind in FORMS else _ROUND
            yield f'{indent}{_mermaid_id(box.id)}{opens}"{text}"{closes}'
        for name, has in (("pivot", box.pivot), ("missing", box.may_be_missing)):
            if has:
                yield f"{indent}class {_mermaid_id(box.id)} {name}"
    for source, target in group.edges:
        yield f"{indent}{_mermaid_id(source)} --> {_mermaid_id(target)}"


def _mermaid_id(id_: str) -> str:
    """With a prefix: a step may be called ``end``, which is a word of Mermaid's, and ``begin``, which is not a step."""
    return f"x_{id_.strip('()')}" if id_ in (BEGIN, END) else f"s_{id_.replace('.', '__')}"


def _mermaid_text(text: str) -> str:
    """Mermaid reads HTML and Markdown in texts; only letters, digits and a few signs are themselves."""
    return "".join(char if char.isalnum() or char in " .,:_-…" else f"#{ord(char)};" for char in text)
