"""Does every message that arrives mean one thing, in whatever order messages arrive?

A service that was sent a command names it as the cause of its answer. One that acts by itself does not: its event must
be told from others by its type, or by ``match``.
"""

from __future__ import annotations

from collections import defaultdict

from kantor_orchestrator.core.step_kinds import KINDS
from kantor_orchestrator.definitions import meaning
from kantor_orchestrator.definitions.own_messages import own
from kantor_orchestrator.definitions.problem import Findings
from kantor_orchestrator.definitions.scopes import Scopes
from kantor_orchestrator.definitions.tree import Node

_SUCCESS, _FAILURE, _CONFIRMATION = "succeeds_on", "fails_on", "compensated_on"
_PROGRESS = "progress_on"
_OWN = "use an event type of its own"

_Uses = dict[str, list[Node]]


def check_replies(scopes: Scopes, found: Findings) -> None:
    uses: defaultdict[str, _Uses] = defaultdict(lambda: defaultdict(list))
    for node in scopes.tree.nodes.values():
        step = node.step
        for word, types in (
            (_SUCCESS, {meaning.success(step)}),
            (_FAILURE, set(meaning.failures(step))),
            (_CONFIRMATION, {meaning.confirms(step)}),
            (_PROGRESS, {step.progress_on or ""}),
        ):
            for type_ in types - {""}:
                uses[type_][word].append(node)
        _members(node, found)
    for type_, steps in uses.items():
        if type_ in own():
            continue  # answers of Kantor itself always name what they answer
        _starts(scopes, type_, steps, found)
        _answers(type_, steps, found)
        _contradictions(type_, steps, found)


def _starts(scopes: Scopes, type_: str, steps: _Uses, found: Findings) -> None:
    saga = scopes.saga
    for word, nodes in steps.items():
        for node in nodes:
            if type_ == saga.starts_on:
                what = f"{type_} starts the saga, so step {node.name} can't wait for it"
                found.add(what, "use another event", (*node.at, word), node.at)
            if saga.cancel_on and type_ == saga.cancel_on.event:
                what = f"{type_} cancels the saga, so step {node.name} can't wait for it"
                found.add(what, "use another event", (*node.at, word), node.at)


def _is_silent(node: Node) -> bool:
    """Whether its events name no command, and nothing else tells whose they are."""
    return KINDS[node.step.kind].is_told_by_type and node.step.match is None


def _members(node: Node, found: Findings) -> None:
    """A step that acts by itself, in members that run side by side."""
    each = next((n for n in node.around if n.step.each is not None and not n.step.in_order), None)
    if each is not None and _is_silent(node) and meaning.success(node.step):
        found.add(
            f"step {node.name} runs once for each item of {each.name}, and nothing tells which item an event belongs to",
            "add `match`, such as event.line_id == item.line_id, or a `command`, which its reply refers to",
            node.at,
        )


def _answers(type_: str, steps: _Uses, found: Findings) -> None:
    for word in (_SUCCESS, _FAILURE, _PROGRESS):
        nodes = steps.get(word, [])
        silent = next((node for node in nodes if _is_silent(node)), None)
        if len(nodes) > 1 and silent:
            names = " or ".join(node.name for node in nodes)
            what = f"{type_} may mean {names}: {silent.name} sends no command that a reply could refer to"
            found.add(
                what,
                f"{_OWN} for each of them",
                (*nodes[1].at, word),
                (*nodes[1].at, "signal"),
            )


def _contradictions(type_: str, steps: _Uses, found: Findings) -> None:
    for node in steps.get(_FAILURE, ()):
        for word in (_SUCCESS, _CONFIRMATION, _PROGRESS):
            if other := steps.get(word):
                what = f"{type_} is a failure of {node.name}, but also appears in `{word}` of {other[0].name}"
                found.add(what, f"{_OWN} for each of the two meanings", (*node.at, _FAILURE))
    for node in steps.get(_CONFIRMATION, ()):
        if node in steps.get(_SUCCESS, ()):
            what = f"{type_} means both that {node.name} has succeeded and that it is compensated"
            found.add(what, f"{_OWN} for each of the two meanings", (*node.at, _CONFIRMATION))
    for node in steps.get(_PROGRESS, ()):
        if node in steps.get(_SUCCESS, ()):
            what = f"{type_} means both that {node.name} has succeeded and that it is still in progress"
            found.add(what, f"{_OWN} for each of the two meanings", (*node.at, _PROGRESS))
