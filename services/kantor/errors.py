"""Every error that Kantor raises on purpose.

    KantorError
    ├── ConfigError            a setting is missing or wrong: fix it and start again
    ├── EnvelopeError          a message's CloudEvents attributes are missing or malformed
    │   └── UnreadableHeadersError  its headers can't be decoded at all
    ├── CodecError             bytes and schema do not fit
    │   ├── UndecodableError   these bytes will never be readable: dead letter or incident
    │   ├── UnknownSchemaError no schema has this id (yet)
    │   └── EncodingError      a value does not fit the schema that it is written with
    ├── RegistryUnavailableError   the registry can't be used now: wait and try again
    ├── KafkaUnavailableError  the broker did not answer in time: wait and try again
    │   └── StuckError         a call of a client hangs: abandon the client, create another one
    ├── TooLargeError          a record is larger than its topic takes: nothing else is wrong
    ├── FencedError            another owner took over: stop, write nothing more
    ├── DefinitionError        a saga definition can't work: message, place and remedy
    ├── Retryable              raised by a handler: try again, the cause may pass
    └── NotFoundError          what was asked for does not exist

Third-party errors are translated once, at the edge (``kantor.kafka``, ``kantor.codec``), into these.
"""

from __future__ import annotations

from uuid import UUID


class KantorError(Exception):
    """The root: catching it catches everything that Kantor raises on purpose."""


class ConfigError(KantorError):
    """A setting is missing or wrong. The message names it and the remedy; nothing was started."""


class EnvelopeError(KantorError):
    """A CloudEvents attribute is missing or malformed. The record can't be attributed; it is not retried."""


class UnreadableHeadersError(EnvelopeError):
    """The client can't decode this record's headers, because a header's name is not UTF-8. All headers are lost; key and
    value are not. The record is dead-lettered; its writer must use header names in UTF-8."""


class CodecError(KantorError):
    """Bytes and schema do not fit."""


class UndecodableError(CodecError):
    """These bytes will never be readable. The caller dead-letters the record with its original bytes."""


class UnknownSchemaError(CodecError):
    """No schema with this id is known. It may be published later: the caller may ask again for a while."""

    def __init__(self, schema_id: int | UUID, where: str) -> None:
        kind = "GUID" if isinstance(schema_id, UUID) else "id"
        super().__init__(
            f"schema {kind} {schema_id} is unknown to {where}; publish the schema, then redeliver"
        )
        self.schema_id = schema_id if isinstance(schema_id, int) else schema_id.int


class EncodingError(CodecError):
    """A value does not fit its schema. This is a bug in the writer; nothing was sent."""


class RegistryUnavailableError(KantorError):
    """The schema registry can't be used now: it does not answer, refuses the request, or its response is not a registry's. Nothing
    is known about the request. The caller waits and tries again; nothing is skipped."""


class KafkaUnavailableError(KantorError):
    """The broker did not answer in time. The caller waits and tries again."""


class StuckError(KafkaUnavailableError):
    """A client call did not return within its timeout. The client is abandoned: the caller creates a new one and restarts from
    the committed positions. It is unknown whether the operation took effect."""


class TooLargeError(KantorError):
    """A record is larger than its topic (``max.message.bytes``) or its client accepts. The caller sends less, or has the limit
    raised; the client keeps working."""


class FencedError(KantorError):
    """Another owner took over this shard or group. The caller stops and writes nothing more."""


class DefinitionError(KantorError):
    """A saga definition can't work. ``problems`` has one line each: place, what is wrong, remedy."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Retryable(KantorError):  # noqa: N818 - reads as what a handler says: raise Retryable("carrier is down")
    """Raised by a service's handler when the cause may pass (a dependency is down, a lock is taken).

    A command's failure is reported as ``StepFailed{retryable: true}`` and the orchestrator retries it with
    backoff; an event's handler is tried again for a bounded time, then reported.
    """

    def __init__(self, message: str, *, code: str = "unavailable") -> None:
        super().__init__(message)
        self.code = code


class NotFoundError(KantorError):
    """The requested thing does not exist. On the command line: exit code 4."""
