"""Does every message that arrives mean one thing, in whatever order messages arrive?"""

from __future__ import annotations

from collections import defaultdict

from kantor_orchestrator.definitions.model import SagaModel
from kantor_orchestrator.definitions.problem import Findings

_SUCCESS, _FAILURE, _CONFIRMATION = "succeeds_on", "fails_on", "compensated_on"
_OWN = "use an event type of its own"


def check_replies(saga: SagaModel, found: Findings) -> None:
    uses: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, step in saga.steps.items():
        for word, types in (
            (_SUCCESS, {step.succeeds_on}),
            (_FAILURE, set(step.fails_on)),
            (_CONFIRMATION, {step.compensated_on}),
        ):
            for type_ in types - {None}:
                uses[str(type_)][word].append(name)
    for type_, steps in uses.items():
        if type_ == saga.starts_on:
            for word, names in steps.items():
                for name in names:
                    what = f"{type_} starts the saga, so it can't be what step {name} waits for"
                    found.add(what, "use another event", ("steps", name, word))
        _answers(saga, type_, steps, found)
        _contradictions(type_, steps, found)


def _answers(saga: SagaModel, type_: str, steps: dict[str, list[str]], found: Findings) -> None:
    """A service that was sent a command says so in its answer; one that acts by itself does not."""
    for word in (_SUCCESS, _FAILURE):
        names = steps.get(word, [])
        silent = next((name for name in names if saga.steps[name].command is None), None)
        if len(names) > 1 and silent:
            what = (
                f"{type_} may mean {' or '.join(names)}: {silent} sends no command that an answer could name"
            )
            found.add(what, f"{_OWN} for each of them", ("steps", names[1], word))


def _contradictions(type_: str, steps: dict[str, list[str]], found: Findings) -> None:
    for name in steps.get(_FAILURE, ()):
        for word in (_SUCCESS, _CONFIRMATION):
            if other := steps.get(word):
                what = f"{type_} is a failure of {name}, but also in {other[0]}'s `{word}`"
                found.add(what, f"{_OWN} for each of the two meanings", ("steps", name, _FAILURE))
    for name in steps.get(_CONFIRMATION, ()):
        if name in steps.get(_SUCCESS, ()):
            what = f"{type_} says both that {name} has succeeded and that it is compensated"
            found.add(what, f"{_OWN} for each of the two meanings", ("steps", name, _CONFIRMATION))
