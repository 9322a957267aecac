"""Whether what a person gives with a signal is what the event would bring: nobody can correct it once its step has succeeded, and a
command or a compensation that needs it later could never be built.
"""

from __future__ import annotations

import json
from typing import Any

from kantor_orchestrator.core.acts import SIGNAL
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.saga import Saga, definition_path
from kantor_orchestrator.core.step_kinds import KINDS
from kantor_orchestrator.definitions import avro
from kantor_orchestrator.definitions.catalogue import Definitions


def complete(saga: Saga | None, entry: Entry, definitions: Definitions) -> None:
    """If this is a signal, as to those of its fields that the saga keeps: read what was written as text (on the command line everything is),
    and add the schema's defaults. If one is missing or of another type, the operator action is refused (``entry.error``); logical types are not looked
    at."""
    step = saga.steps.get(definition_path(entry.step)) if saga and entry.type == SIGNAL else None
    if saga is None or step is None or not KINDS[step.kind].takes_signal or entry.payload is None:
        return
    type_, given = step.succeeds_on, entry.payload["fields"]
    kept = saga.captures.get(type_, frozenset())
    fields = avro.expand(definitions.schema(type_) or {"type": "record", "name": "X", "fields": []})["fields"]
    for field in (field for field in fields if field["name"] in kept):
        name = field["name"]
        if name not in given and "default" in field:
            given[name] = field["default"]
            continue
        if name in given:
            given[name] = _read(given[name], field["type"])
        if name not in given or not _fits(given[name], field["type"]):
            what = "is another type" if name in given else "is missing"
            shown = avro.shown(field["type"])
            entry.error = f"the saga needs the field {name} of {type_}, which {what}: give it, as {shown}"
            return


def _read(value: Any, type_: Any) -> Any:
    """A text as what it stands for, where no text may stand."""
    if not isinstance(value, str) or _fits(value, type_):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _fits(value: Any, type_: Any) -> bool:
    if isinstance(type_, list):
        return any(_fits(value, branch) for branch in type_)
    kind = type_["type"]
    if "logicalType" in type_ or kind in ("bytes", "fixed"):
        return True
    if kind == "array":
        return isinstance(value, list) and all(_fits(item, type_["items"]) for item in value)
    if kind == "map":
        return isinstance(value, dict) and all(_fits(item, type_["values"]) for item in value.values())
    if kind == "record":
        return isinstance(value, dict) and all(
            _fits(value[field["name"]], field["type"]) if field["name"] in value else "default" in field
            for field in type_["fields"]
        )
    return not isinstance(value, list | dict) and avro.literal_fits(value, type_)
