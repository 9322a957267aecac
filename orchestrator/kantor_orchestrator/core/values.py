"""Captured payload values as JSON text, and back without loss.

Avro has values that JSON lacks: bytes, decimals, dates, times, UUIDs. They are written as ``{"$kind": text}``.
Keys are sorted, so that equal values are equal text.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]
from typing import Any
from uuid import UUID

_WRITERS: dict[type, tuple[str, Callable[[Any], str]]] = {
    bytes: ("$bytes", lambda value: b64encode(value).decode()),
    datetime: ("$datetime", lambda value: value.isoformat()),
    date: ("$date", lambda value: value.isoformat()),
    time: ("$time", lambda value: value.isoformat()),
    Decimal: ("$decimal", str),
    UUID: ("$uuid", str),
}
_READERS: dict[str, Callable[[str], Any]] = {
    "$bytes": b64decode,
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$decimal": Decimal,
    "$uuid": UUID,
}


def _write(value: Any) -> dict[str, str]:
    found = _WRITERS.get(type(value))
    if found is None:
        raise TypeError(f"a {type(value).__name__} can't be captured: {value!r:.100}")
    name, write = found
    return {name: write(value)}


def _read(value: dict[str, Any]) -> Any:
    if len(value) == 1:
        (name,) = value
        reader = _READERS.get(name)
        if reader is not None and isinstance(value[name], str):
            try:
                return reader(value[name])
            except (ValueError, ArithmeticError):
                return value  # somebody's own map with such a key: a state that has it must be readable
    return value


_encoder = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False, default=_write)
#: What ``JSONEncoder.encode`` makes anew for each call, which costs more than encoding a few captured fields.
_chunks = c_make_encoder and c_make_encoder(
    None, _write, encode_basestring, None, ":", ",", True, False, True
)


def dump(value: Any) -> str:
    """Value to JSON text. Raises ``TypeError`` for what Avro does not have."""
    return "".join(_chunks(value, 0)) if _chunks else _encoder.encode(value)


#: JSON text back to the value.
load: Callable[[str], Any] = json.JSONDecoder(object_hook=_read).decode
