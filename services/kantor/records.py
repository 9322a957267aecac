"""Kantor's own messages: generated from Avro schemas, do not edit.

Make it again: python -m kantor.models <folder> --out <this file>
"""

# fmt: off
# ruff: noqa
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """A service could not do what a message asked of it. Topic evt.<service>.failure.v1; implicit in every step's fails_on."""

    TYPE: ClassVar[str] = "kantor.StepFailed"
    TOPIC: ClassVar[str] = "cmd.kantor.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "StepFailed",
        "namespace": "kantor",
        "doc": "A service could not do what a message asked of it. Topic evt.<service>.failure.v1; implicit in every step's fails_on.",
        "fields": [
            {
                "name": "code",
                "type": "string",
                "doc": "Short and stable, for machines: expired, fenced, unavailable, ...",
            },
            {"name": "message", "type": "string", "default": ""},
            {"name": "retryable", "type": "boolean", "default": False},
            {
                "name": "handling",
                "type": "string",
                "default": "",
                "doc": "The type of the message that was being handled.",
            },
            {
                "name": "unsure",
                "type": "boolean",
                "default": False,
                "doc": "Whether the attempt may have taken effect all the same: it is reversed, then, or asked about.",
            },
        ],
    }

    #: Short and stable, for machines: expired, fenced, unavailable, ...
    code: str
    message: str = ""
    retryable: bool = False
    #: The type of the message that was being handled.
    handling: str = ""
    #: Whether the attempt may have taken effect all the same: it is reversed, then, or asked about.
    unsure: bool = False

    def to_avro(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "handling": self.handling,
            "unsure": self.unsure,
        }

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> StepFailed:
        return cls(
            code=value["code"],
            message=value.get("message", ""),
            retryable=value.get("retryable", False),
            handling=value.get("handling", ""),
            unsure=value.get("unsure", False),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionEnded:
    """A transaction ended: announced for every end."""

    TYPE: ClassVar[str] = "kantor.TransactionEnded"
    TOPIC: ClassVar[str] = "evt.kantor.transaction.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "TransactionEnded",
        "namespace": "kantor",
        "kantor.topic": "evt.kantor.transaction.v1",
        "doc": "A transaction ended: announced for every end.",
        "fields": [
            {"name": "transaction_id", "type": "string"},
            {
                "name": "saga",
                "type": "string",
                "doc": "Empty: it was closed before any saga began.",
            },
            {"name": "version", "type": "int"},
            {
                "name": "status",
                "type": "string",
                "doc": "completed, compensated or closed",
            },
            {
                "name": "started_at",
                "type": "long",
                "doc": "ms since 1970; 0: no saga began.",
            },
            {
                "name": "ended_at",
                "type": "long",
                "doc": "ms since 1970.",
            },
            {
                "name": "reason",
                "type": ["null", "string"],
                "default": None,
            },
            {
                "name": "returns",
                "type": "string",
                "default": "",
                "doc": "What the saga returns, JSON as core.values writes it.",
            },
        ],
    }

    transaction_id: str
    #: Empty: it was closed before any saga began.
    saga: str
    version: int
    #: completed, compensated or closed
    status: str
    #: ms since 1970; 0: no saga began.
    started_at: int
    #: ms since 1970.
    ended_at: int
    reason: str | None = None
    #: What the saga returns, JSON as core.values writes it.
    returns: str = ""

    def to_avro(self) -> dict[str, Any]:
        return {
            "transaction_id": self.transaction_id,
            "saga": self.saga,
            "version": self.version,
            "status": self.status,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "reason": self.reason,
            "returns": self.returns,
        }

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> TransactionEnded:
        return cls(
            transaction_id=value["transaction_id"],
            saga=value["saga"],
            version=value["version"],
            status=value["status"],
            started_at=value["started_at"],
            ended_at=value["ended_at"],
            reason=value.get("reason", None),
            returns=value.get("returns", ""),
        )
