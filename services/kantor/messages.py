"""What a message class must offer. ``python -m kantor.models`` writes such classes from ``.avsc`` files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self


class Message(Protocol):
    """A payload with its schema. Any class of this shape will do; the generated ones are frozen dataclasses."""

    #: The Avro full name, which is also the CloudEvents type.
    TYPE: ClassVar[str]
    #: The topic that messages of this type are sent to.
    TOPIC: ClassVar[str]
    SCHEMA: ClassVar[dict[str, Any]]

    def to_avro(self) -> dict[str, Any]:
        """The value to encode."""

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> Self:
        """From a decoded value, possibly of an older schema: what is missing takes its default.

        Raises ``KeyError`` if a field without default is missing.
        """
