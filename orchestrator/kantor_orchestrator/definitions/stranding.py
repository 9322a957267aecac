"""What a change of the deployed definitions breaks in those that stay.

A transaction stays on the version that it started with, but the schemas of messages are shared: commands are written with
the schema that was deployed last, and services send events by theirs. And whoever starts a child gets its latest version.
So each version that stays is checked once more, against the schemas and children that will be in force. What was wrong
with it before does not count.

What can't strand anybody, and is not asked about: a start that is given up or taken over by another saga (what was sent
before still starts what was in force then, see ``Definitions.starting_with``; so early events find their start), an event
that moves to another topic of intake's pattern (all of them are read), and another saga's ``commands:`` (each version
keeps its own).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kantor.errors import DefinitionError
from kantor_orchestrator.definitions import meaning
from kantor_orchestrator.definitions.bundle import Bundle, key_of
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.definitions.check import recheck
from kantor_orchestrator.definitions.children import children_of
from kantor_orchestrator.definitions.meaning import Children
from kantor_orchestrator.definitions.model import SagaModel
from kantor_schemas import Schema, topic_of

#: The topics that intake reads.
_READ = ("evt.", "cmd.")


@dataclass(frozen=True, slots=True, order=True)
class Broken:
    """A version that could not go on. ``is_in_force``: transactions may start on it any time. ``problems``: where in the
    definition, and what."""

    saga: str
    version: int
    is_in_force: bool
    problems: tuple[str, ...]

    @property
    def key(self) -> str:
        return key_of(self.saga, self.version)


@dataclass(frozen=True, slots=True)
class Stranded:
    """How many transactions are alive on a version that could not go on."""

    broken: Broken
    count: int

    def __str__(self) -> str:
        one = self.broken
        name, alive = f"{one.saga} version {one.version}", f"{self.count} transaction{_s(self.count)}"
        why = "; ".join(one.problems)
        if not one.is_in_force:
            return (
                f"{alive} that run{'' if self.count != 1 else 's'} on {name} could not go on: {why}; "
                f"{self.remedy}"
            )
        return f"{name} is in force ({alive} alive on it) and could not go on: {why}; {self.remedy}"

    @property
    def remedy(self) -> str:
        one = self.broken
        if one.is_in_force:
            return f"keep what it needs, or deploy a new version of {one.saga} that does not need it"
        listing = f"`kantor list --saga {one.saga} --version {one.version}`"
        return f"keep what it needs, or let {'it' if self.count == 1 else 'them'} end first: {listing}"

    def as_json(self) -> dict[str, Any]:
        one = self.broken
        return {
            "saga": one.saga,
            "version": one.version,
            "in_force": one.is_in_force,
            "transactions": self.count,
            "problems": list(one.problems),
            "remedy": self.remedy,
        }


class StrandingError(DefinitionError):
    """Transactions that are alive, or start any time, could not go on. ``stranded`` says which."""

    def __init__(self, stranded: list[Stranded]) -> None:
        super().__init__([str(one) for one in stranded])
        self.stranded = stranded


def broken(before: Definitions, after: Definitions) -> list[Broken]:
    """The versions, deployed both before and after, that the change breaks."""
    old, new = _World(before), _World(after)
    there = {bundle.key for bundle in before.bundles()}
    added = [bundle for bundle in after.bundles() if bundle.key not in there]
    in_force = {bundle.key for bundle in after.latest()}
    found = []
    for bundle in after.bundles():
        if bundle.key not in there:
            continue
        problems = sorted(new.problems(bundle) - old.problems(bundle))
        told = [
            *(f"{at}: {what}" for at, what in problems),
            *_moved(bundle, added),
            *_started(bundle, old, new),
        ]
        if told:
            model = bundle.model
            found.append(Broken(model.saga, model.version, bundle.key in in_force, tuple(told)))
    return found


class _World:
    """Some definitions, and what they say to each other."""

    def __init__(self, definitions: Definitions) -> None:
        self.latest: dict[str, SagaModel] = {found.model.saga: found.model for found in definitions.latest()}
        types = {type_ for bundle in definitions.bundles() for type_ in bundle.messages}
        self._schemas: dict[str, Schema] = {
            type_: schema for type_ in types if (schema := definitions.schema(type_)) is not None
        }
        self.children = children_of(self.latest.values(), self._schemas)

    def problems(self, bundle: Bundle) -> set[tuple[str, str]]:
        """The children start as the bundle says: its commands are compiled. What they return is their latest word."""
        children: Children = {
            name: replace(child, returns=self.children[name].returns) if name in self.children else child
            for name, child in bundle.children.items()
        }
        own: Mapping[str, Schema] = {type_: m.schema for type_, m in bundle.messages.items()}
        sagas = dict.fromkeys(children, bundle.model) | self.latest
        return recheck(bundle.model, {**own, **self._schemas}, children, sagas)


def _moved(bundle: Bundle, added: Collection[Bundle]) -> Iterator[str]:
    """The messages that are listened to, or looked for, where this version's are not."""
    commands = meaning.commands(bundle.model, bundle.children)
    for type_, message in bundle.messages.items():
        topics = set()
        for other in added:
            if type_ not in other.messages:
                continue
            said = other.messages[type_]
            if type_ not in commands:
                moved = said.topic and not said.topic.startswith(_READ) and said.topic != message.topic
                topics |= {said.topic} if moved else set()
            elif other.model.saga == bundle.model.saga:
                topics.add(said.topic)  # its own word, by the schema or by `commands:`
            elif not commands[type_]:
                topics.add(topic_of(said.schema))
        for topic in sorted(topics - {message.topic}):
            if type_ in commands:
                yield f"it sends {type_} to {message.topic}, but that moves to {topic}"
            else:
                yield f"{type_} moves to {topic}, which nobody reads"


def _started(bundle: Bundle, old: _World, new: _World) -> Iterator[str]:
    """The children that will not start any more as this version starts them."""
    for name, child in bundle.children.items():
        was, is_ = old.latest.get(name), new.latest.get(name)
        if was is None or was.starts_on != child.starts_on:
            continue  # nothing new
        if is_ is None:
            yield f"it starts the saga {name}, which is removed"
        elif is_.starts_on != child.starts_on:
            yield f"it starts the saga {name} by {child.starts_on}, but version {is_.version} starts on {is_.starts_on}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
