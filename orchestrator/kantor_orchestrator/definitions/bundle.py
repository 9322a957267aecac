"""A deployed definition with everything it needs to run: the record on ``sys.kantor.definitions``.

Key ``saga/version``. The schemas of all messages that it names are in it, so that engine and view need no files (wire-23).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kantor.codec import Codec, parse_schema
from kantor_orchestrator.core.saga import Saga
from kantor_orchestrator.definitions import meaning, reading
from kantor_orchestrator.definitions.children import started_by
from kantor_orchestrator.definitions.compile import compile_saga
from kantor_orchestrator.definitions.meaning import Child, Children
from kantor_orchestrator.definitions.model import SagaModel
from kantor_orchestrator.definitions.own_messages import with_own
from kantor_orchestrator.formats import topics
from kantor_schemas import Schema, canonical_json, system, topic_of


@dataclass(frozen=True, slots=True)
class Message:
    """A message type. ``topic`` empty: its schema names none (an event of somebody else's)."""

    schema: Schema
    topic: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """``deployed_at``: ms since the epoch; deploying the same again keeps it. ``children``: the sagas that it starts, as
    they were when it was deployed. ``compiled``: what the engine runs, if that has been made already."""

    model: SagaModel
    deployed_at: int
    messages: Mapping[str, Message]
    children: Children = field(default_factory=dict)
    compiled: Saga | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> str:
        return key_of(self.model.saga, self.model.version)

    def says_the_same(self, other: Bundle) -> bool:
        """Whether both mean the same to the engine; when they were deployed and how schemas are documented aside."""
        return (
            self.model == other.model
            and _meaning(self.messages) == _meaning(other.messages)
            and _promises(self.children) == _promises(other.children)
        )


def key_of(saga: str, version: int) -> str:
    return f"{saga}/{version}"


def bundle(
    model: SagaModel,
    catalog: Mapping[str, Schema],
    deployed_at: int,
    children: Children | None = None,
) -> Bundle:
    """A definition and the schemas of what it names; it has passed ``check`` against ``catalog``. ``children``: the sagas
    that are known, its own among them."""
    started = {name: (children or {})[name] for name in started_by(model)}
    schemas = with_own(catalog)
    commands = meaning.commands(model, started)
    messages = {}
    for type_ in meaning.types(model, started):
        schema = schemas[type_]
        named = type_ in commands or "kantor.topic" in schema
        messages[type_] = Message(schema, commands.get(type_) or topic_of(schema) if named else "")
    return Bundle(model, deployed_at, messages, started)


def encode(bundle: Bundle, codec: Codec) -> bytes:
    """The record's value. Raises what the codec's schema store raises."""
    encoder = codec.encoder(system("Definition"), topics.DEFINITIONS)
    return encoder(
        {
            "saga": bundle.model.saga,
            "version": bundle.model.version,
            "deployed_at": bundle.deployed_at,
            # With its defaults, so that a later version's other defaults don't change what was deployed.
            "definition": bundle.model.model_dump_json(),
            "messages": {
                type_: {"schema": canonical_json(message.schema), "topic": message.topic}
                for type_, message in bundle.messages.items()
            },
            "children": {
                name: {"starts_on": child.starts_on, "returns": list(child.returns)}
                for name, child in bundle.children.items()
            },
        }
    )


def decode(value: bytes, codec: Codec) -> Bundle:
    """The definition in a record. Raises ``CodecError`` for foreign bytes, ``DefinitionError`` if this version of
    Kantor can't read it: a newer one deployed it, and this role must be upgraded before it goes on."""
    return from_record(codec.decode(value))


def from_record(record: Mapping[str, Any]) -> Bundle:
    """The definition in a decoded record. Raises as ``decode``."""
    name = f"definition {key_of(record['saga'], record['version'])}"
    return Bundle(
        reading.from_record(json.loads(record["definition"]), name),
        record["deployed_at"],
        {
            type_: Message(parse_schema(message["schema"]), message["topic"])
            for type_, message in record["messages"].items()
        },
        {
            name: Child(child["starts_on"], dict.fromkeys(child["returns"]))
            for name, child in record.get("children", {}).items()  # older records have none
        },
    )


def compile_definition(bundle: Bundle) -> Saga:
    """What the engine runs."""
    if bundle.compiled is not None:
        return bundle.compiled
    schemas = {type_: message.schema for type_, message in bundle.messages.items()}
    return compile_saga(bundle.model, schemas, bundle.deployed_at, bundle.children)


def _meaning(messages: Mapping[str, Message]) -> dict[str, tuple[str, str]]:
    return {t: (canonical_json(_undocumented(m.schema)), m.topic) for t, m in messages.items()}


def _promises(children: Children) -> dict[str, tuple[str, list[str]]]:
    """What a parent relies on; what types they return is for lint."""
    return {name: (child.starts_on, list(child.returns)) for name, child in children.items()}


def _undocumented(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: _undocumented(value) for name, value in schema.items() if name != "doc"}
    return [_undocumented(value) for value in schema] if isinstance(schema, list) else schema
