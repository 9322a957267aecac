"""Captured payload values as JSON text, and back without loss.

Avro has values that JSON lacks: bytes, decimals, dates, times, UUIDs. They are written as ``{"$kind": text}``.
In what :func:`dump` gives, keys are sorted, so that equal values are equal text. :func:`plain` and :func:`real` are for whoever
writes and reads JSON (or MessagePack) itself.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]
from math import isfinite
from typing import Any
from uuid import UUID

_WRITERS: dict[type, tuple[str, Callable[[Any], str]]] = {
    bytes: ("$bytes", lambda value: b64encode(value).decode()),
    datetime: ("$datetime", lambda value: value.isoformat()),
    date: ("$date", lambda value: value.isoformat()),
    time: ("$time", lambda value: value.isoformat()),
    Decimal: ("$decimal", str),
    UUID: ("$uuid", str),
    float: ("$float", repr),  # one that is not finite
    int: ("$int", str),  # one of more than 64 bits
}
_READERS: dict[str, Callable[[str], Any]] = {
    "$bytes": b64decode,
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$decimal": Decimal,
    "$uuid": UUID,
    "$float": float,
    "$int": int,
}
#: The tag of a map that has one key, which looks like a tag.
_MAP = "$map"
#: Maps and lists in one another: every Python reads what is written up to here, and the codec takes less.
DEEPEST = 200
_TAGS = frozenset({_MAP, *_READERS})
#: A text that each of ``_READERS`` needs.
TAGGED = '"$'


def plain(value: Any, depth: int = 0) -> Any:
    """The value with nothing in it that JSON lacks; the same object if there was nothing. Raises ``TypeError`` for what Avro
    does not have, ``ValueError`` for what is nested too deep to be read again."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return value if -(1 << 63) <= value < 1 << 63 else _tagged(value)
    if kind is float:
        return value if isfinite(value) else _tagged(value)
    if kind is dict:
        found = plain_fields(value, depth)
        if len(value) == 1 and next(iter(value)) in _TAGS:  # somebody's own map that looks like ours
            return {_MAP: found}
        return found
    if kind is list or isinstance(value, tuple):
        _check_depth(depth)
        items: list[Any] | None = None if kind is list else list(value)
        for place, one in enumerate(value):
            told = plain(one, depth + 1)
            if told is not one:
                items = list(value) if items is None else items
                items[place] = told
        return value if items is None else items
    if isinstance(value, str):
        return str.__str__(value)
    return _tagged(value)


def plain_fields(fields: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """As :func:`plain`, of each field; a map of fields is never taken for a tag."""
    _check_depth(depth)
    found: dict[str, Any] | None = None
    for name, one in fields.items():
        told = plain(one, depth + 1)
        if told is not one:
            found = dict(fields) if found is None else found
            found[name] = told
    return fields if found is None else found


def _check_depth(depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError(f"a value is nested more than {DEEPEST} deep")


def _tagged(value: Any) -> dict[str, str]:
    found = _WRITERS.get(type(value))
    if found is None:
        raise TypeError(f"a {type(value).__name__} can't be captured: {value!r:.100}")
    name, write = found
    return {name: write(value)}


def real_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """What :func:`plain_fields` was given. Raises as :func:`real`."""
    return {name: real(one, 1) for name, one in fields.items()}


def real(value: Any, depth: int = 0) -> Any:
    """What :func:`plain` was given. Raises ``ValueError`` for what it did not give."""
    if type(value) is list:
        _check_depth(depth)
        return [real(one, depth + 1) for one in value]
    if type(value) is not dict:
        return value
    _check_depth(depth)
    if len(value) == 1:
        ((name, inner),) = value.items()
        if name == _MAP and type(inner) is dict:
            return {key: real(one, depth + 1) for key, one in inner.items()}
        if (reader := _READERS.get(name)) is not None:
            try:
                return reader(inner)
            except (TypeError, AttributeError, ArithmeticError) as error:
                raise ValueError(f"{name} of {inner!r:.100}: {error}") from error
    return {key: real(one, depth + 1) for key, one in value.items()}


_encoder = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False, default=_tagged)
#: What ``JSONEncoder.encode`` makes again for each call, which costs more than encoding a few captured fields.
_chunks = c_make_encoder and c_make_encoder(
    None, _tagged, encode_basestring, None, ":", ",", True, False, True
)


def dump(value: Any) -> str:
    """Value to JSON text. Raises ``TypeError`` for what Avro does not have."""
    found = plain(value)
    return "".join(_chunks(found, 0)) if _chunks else _encoder.encode(found)


def load(text: str) -> Any:
    """JSON text back to the value. Raises ``ValueError``."""
    found = json.loads(text)
    return real(found) if TAGGED in text else found
