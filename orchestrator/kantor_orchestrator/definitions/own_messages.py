"""The platform's messages that definitions act through: tasks, calls and children."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from kantor.envelope import TRANSACTION_ENDED
from kantor_orchestrator.formats import topics
from kantor_schemas import Schema, full_name, system

REQUEST_TASK, TASK_SUCCEEDED, TASK_FAILED = "kantor.RequestTask", "kantor.TaskSucceeded", "kantor.TaskFailed"
REQUEST_CALL, CALL_SUCCEEDED, CALL_FAILED = "kantor.RequestCall", "kantor.CallSucceeded", "kantor.CallFailed"

#: What only Kantor sends. Intake does not journal what Kantor sends, so that no step hears it.
UNHEARD = frozenset({TRANSACTION_ENDED, REQUEST_TASK, REQUEST_CALL})

#: Children are started where the platform's own commands go: intake copies them to the right shard.
CHILD_TOPIC = topics.OWN_COMMANDS


@cache
def own() -> Mapping[str, Schema]:
    """Their schemas by type; a catalogue of users' schemas need not have them."""
    names = ("TransactionEnded", "RequestTask", "TaskSucceeded", "TaskFailed")
    schemas = [system(name) for name in (*names, "RequestCall", "CallSucceeded", "CallFailed")]
    return {full_name(schema): schema for schema in schemas}


def with_own(schemas: Mapping[str, Schema]) -> dict[str, Schema]:
    return {**schemas, **own()}
