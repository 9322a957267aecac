"""Is a step made of words that go together, in an order that can run? No schemas are needed for that."""

from __future__ import annotations

import math
from collections.abc import Iterator

from kantor_orchestrator.core.progress import MOST_MEMBERS_IN_ALL
from kantor_orchestrator.definitions import expressions, graph
from kantor_orchestrator.definitions.model import StepModel
from kantor_orchestrator.definitions.parts import Retries
from kantor_orchestrator.definitions.problem import Findings, nearest
from kantor_orchestrator.definitions.step_kinds import FORMS
from kantor_orchestrator.definitions.tree import Node, Tree

#: What a word needs that a step lacks, if it is of a kind that can be given that; how to get it.
_LACKS = {
    **dict.fromkeys(("each", "need", "in_order", "settle"), ("has no inner steps", "add `steps:`")),
    **dict.fromkeys(("fields", "retry"), ("sends no command", "add `command:`")),
}


def check_shape(tree: Tree, found: Findings) -> None:
    for node in tree.nodes.values():
        _kinds(node, found)
        _words(node, found)
        _members(node, found)
        _product(node, found)
        _names(tree, node, found)
        _pivot(tree, node, found)
    for parent in (None, *(n for n in tree.nodes.values() if n.step.steps)):
        _order(tree, parent, found)


def _kinds(node: Node, found: Findings) -> None:
    if len(kinds := [form.word for form in node.step.forms]) > 1:
        what = f"step {node.name} has {' and '.join(f'`{kind}`' for kind in kinds)}, but a step can be only one of them"
        found.add(what, "keep one, or make a separate step for each", (*node.at, kinds[1]))


def _words(node: Node, found: Findings) -> None:
    step, form = node.step, node.step.form
    for word in _without_effect(step) if len(step.forms) == 1 else ():
        if word in form.refused:
            why, remedy = form.refused[word]
            what = f"step {node.name}: {why}"
        elif form.why:
            what, remedy = f"step {node.name} {form.why}, so `{word}` has no effect", form.remedy
        else:
            lack, remedy = _LACKS[word]
            what, remedy = f"step {node.name} {lack}, so `{word}` has no effect", f"remove it, or {remedy}"
        found.add(what, remedy, (*node.at, word))
    if step.progress_on is not None and step.timeout is None and "progress_on" in form.takes:
        what = f"step {node.name} has no timeout that `progress_on` could restart, so it has no effect"
        found.add(what, "add `timeout:`, or remove it", (*node.at, "progress_on"))
    if step.retry is not None and step.retry.attempts == 1 and "retry" in form.takes:
        vain = [word for word in sorted(step.retry.model_fields_set) if _says(step.retry, word)]
        if vain:
            what = f"step {node.name} has one attempt only, so `{vain[0]}` has no effect"
            remedy = "add `attempts:` (2 or more; it counts the first one), or remove it"
            found.add(what, remedy, (*node.at, "retry", vain[0]))
    reverses = step.compensate_with is not None and step.compensate_with.command is not None
    if step.key is not None and "key" not in form.takes and not reverses:
        what = f"step {node.name} sends no command, so `key` has no effect"
        found.add(what, "remove it, or add `command:`", (*node.at, "key"))


def _without_effect(step: StepModel) -> Iterator[str]:
    """The words that it says, and that have no effect in a step of its kind. A key has one in a compensation, too."""
    words = frozenset[str]().union(*(form.takes for form in FORMS.values())) - step.form.takes - {"key"}
    return (word for word in words & step.model_fields_set if _says(step, word))


def _says(step: StepModel | Retries, word: str) -> bool:
    """Whether more than the default was said: a deployed definition says everything."""
    return bool(getattr(step, word) != type(step).model_fields[word].get_default(call_default_factory=True))


def _product(node: Node, found: Findings) -> None:
    """Lists that are written in the definition, one in the other: their members multiply."""
    each = [one.step.each for one in (node, *node.around) if one.step.each is not None]
    if node.step.each is None or expressions.literal(node.step.each) is None:
        return
    known = [value[0] for text in each if (value := expressions.literal(text)) is not None]
    count = math.prod(len(value) for value in known if isinstance(value, list))
    if count > MOST_MEMBERS_IN_ALL:
        what = f"step {node.name} would have {count:,} members in all; a transaction may have at most {MOST_MEMBERS_IN_ALL:,}"
        found.add(what, "run the inner steps as a child saga (`saga:`)", (*node.at, "each"))


def _members(node: Node, found: Findings) -> None:
    step = node.step
    if not step.steps or step.need is None:
        return
    listed = None if step.each is None else expressions.literal(step.each)
    most = len(step.steps) if step.each is None else None
    if listed is not None and isinstance(listed[0], list):
        most = len(listed[0])
    if most is not None and step.need > most:
        what = f"step {node.name} needs {step.need} members to succeed, but has {most}"
        found.add(what, f"set `need` to at most {most}", (*node.at, "need"))


def _names(tree: Tree, node: Node, found: Findings) -> None:
    for outer in node.around:
        for other in (outer, tree.siblings(outer).get(node.name)):
            if other is not None and other.name == node.name:
                what = f"step {node.path} has the same name as the step {other.path}, which is visible here"
                found.add(what, "rename one of them", node.at)
                return


def _pivot(tree: Tree, node: Node, found: Findings) -> None:
    step = node.step
    if not step.pivot:
        return
    if step.in_doubt is not None and step.in_doubt.then == "compensate":
        what = f"step {node.name} is a pivot, which is never reversed, even when its outcome is unknown"
        found.add(what, "write `in_doubt: wait` or `in_doubt: {ask: COMMAND}`", (*node.at, "in_doubt"))
    if step.compensate_with is not None:
        what = f"step {node.name} is a pivot, which is never reversed, but has `compensate_with`"
        found.add(what, "drop one of the two", (*node.at, "compensate_with"))
    if step.optional:
        what = f"step {node.name} is a pivot, so it can't be optional: if it fails, nothing says whether the saga may still turn back"
        found.add(what, "drop one of the two", (*node.at, "optional"))
    edges = tree.graph(node.parent)
    for other in tree.siblings(node).values():
        if node.name not in graph.before(edges, other.name):
            continue
        for late in (other, *(n for n in tree.nodes.values() if other in n.around)):
            if late.step.compensate_with is not None:
                what = f"step {late.name} comes after the pivot {node.name}, so it is never compensated"
                remedy = "remove `compensate_with`, or move the step before the pivot"
                found.add(what, remedy, (*late.at, "compensate_with"))


def _order(tree: Tree, parent: Node | None, found: Findings) -> None:
    children = tree.children(parent)
    for name, node in children.items():
        for index, other in enumerate(node.step.after):
            at = ((*node.at, "after", index), (*node.at, "after"))
            if other not in children:
                elsewhere = next((n for n in tree.nodes.values() if n.name == other), None)
                near = nearest(other, children)
                remedy = f"did you mean {near}?" if near else f"the steps are {', '.join(children)}"
                what = f"step {name} comes after {other}, which is not a step"
                if elsewhere is not None:
                    home = elsewhere.parent.path if elsewhere.parent else "the saga itself"
                    what = f"step {name} comes after {other}, which is a step of {home}"
                    remedy = (
                        "name a step of the same composite; the steps before the composite come first anyway"
                    )
                found.add(what, remedy, *at)
    edges = tree.graph(parent)
    if way := graph.cycle(edges):
        what = f"the steps wait for each other in a loop: {' -> '.join(way)}"
        place = children[way[0]].at
        found.add(what, "remove one `after`", (*place, "after"), place)
