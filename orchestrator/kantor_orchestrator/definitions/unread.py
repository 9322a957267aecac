"""A record of ``sys.kantor.definitions`` that this Kantor can't read: refused by name, so that all other definitions go on.

A newer Kantor wrote it (its language has words that this one does not know), or no Kantor did: truncated bytes, a schema that
nobody published, a key that is not its own. What it may mean is kept as far as it can be told: the types of the messages that
it names, because such messages must wait, and must not be dropped as unknown (shard-21).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kantor.clients import Record
from kantor.codec import Codec
from kantor.errors import CodecError, DefinitionError, UnknownSchemaError
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions.bundle import Bundle

log = logging.getLogger("kantor.definitions")

#: What reading somebody else's record raises, whatever is in it.
UNREADABLE = (
    CodecError,
    DefinitionError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


#: The key of a definition: its saga and version.
_KEY = re.compile(rb"[\w.-]+/[0-9]+")


@dataclass(frozen=True, slots=True)
class Unread:
    """``key``: as it is in the topic; ``name``: the same, printable. ``is_newer``: it is a definition, of a newer Kantor. ``is_lost``:
    its schema is not known now, and may be later. ``types``: what it names, as far as that can be told."""

    place: str
    key: bytes
    why: str
    is_newer: bool = False
    is_lost: bool = False
    types: frozenset[str] = field(default_factory=frozenset)

    @property
    def name(self) -> str:
        return name_of(self.key)

    @property
    def may_name_anything(self) -> bool:
        """Whether it may be a definition that can be read later: what it names is not known until then."""
        return self.is_lost and _KEY.fullmatch(self.key) is not None

    @property
    def what(self) -> str:
        return f"the definition {self.name} at {self.place} can't be read: {self.why}"

    @property
    def remedy(self) -> str:
        if self.is_newer:
            return "a newer Kantor deployed it: upgrade this one"
        if self.is_lost:
            return (
                "register its schema in the registry again, and what needs it goes on; only if no Kantor wrote it, remove it "
                "(`kantor undeploy --unreadable`)"
            )
        return "deploy it again (`kantor deploy`), or, if no transaction is on it, remove it (`kantor undeploy --unreadable`)"


def name_of(key: bytes | None) -> str:
    return (key or b"").decode("utf-8", "backslashreplace")


def read(record: Record, codec: Codec, *, is_told: bool = False) -> Bundle | Unread:
    """The definition in a record that has a value, compiled. ``is_told``: that it can't be read was logged before. Raises
    ``RegistryUnavailableError``: ask again."""
    key, value = record.key() or b"", record.value()
    facts: Mapping[str, Any] = {}
    try:
        facts = codec.decode(value, expected="kantor.Definition")
        own = bundles.key_of(facts["saga"], facts["version"])
        if key != own.encode():
            raise ValueError(f"its key is {name_of(key)}, and it is the definition {own}")
        found = bundles.from_record(facts)
        return replace(found, compiled=bundles.compile_definition(found))
    except UNREADABLE as error:
        place = f"{record.topic()}/{record.partition()}/{record.offset()}"
        why = "; ".join(str(error).splitlines()[:3])[:500] or type(error).__name__
        is_newer, is_lost = isinstance(error, DefinitionError), isinstance(error, UnknownSchemaError)
        if is_lost:
            why = why.partition(";")[0]
        unread = Unread(place, key, why, is_newer, is_lost, _types(facts))
        if not is_told:
            log.error(
                "%s; %s. Transactions that need it wait, everything else goes on",
                unread.what,
                unread.remedy,
                extra={"action": "definition_unreadable", "definition": unread.name},
            )
        return unread


def _types(facts: Mapping[str, Any]) -> frozenset[str]:
    """What it names, as far as that is what it should be."""
    messages = facts.get("messages")
    return frozenset(map(str, messages)) if isinstance(messages, Mapping) else frozenset()
