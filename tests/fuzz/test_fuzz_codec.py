"""Bytes that claim to be Avro: they are decoded, or refused in the codec's own words, within bounds."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from fuzz.bounds import bounded
from fuzz.conftest import examples
from fuzz.hostile import STRANGE_SCHEMAS, WELL_FORMED, bodies
from kantor.codec import Codec, MemorySchemas
from kantor.errors import CodecError
from simulation.processes import SCHEMAS

_SECONDS, _MEGABYTES = 3.0, 150

_sound = st.sampled_from([record.value for record in WELL_FORMED if record.value is not None])
_schema_ids = st.one_of(
    st.none(), st.binary(max_size=20), st.sampled_from([b"\0\0\0\0\1", b"\1" + UUID(int=7).bytes])
)


@given(_sound.flatmap(bodies), _schema_ids)
@examples(300)
def test_bytes_are_decoded_or_refused(value: bytes | None, schema_id: bytes | None) -> None:
    """The header form too."""
    headers = {} if schema_id is None else {"__value_schema_id": schema_id}
    with bounded(_SECONDS, _MEGABYTES, value, schema_id), suppress(CodecError):
        assert isinstance(Codec(SCHEMAS).decode(value, headers), dict)


_types = st.sampled_from(
    ["null", "int", "long", "string", "bytes", "float", "shop.OrderPlaced", "hostile.Self", "x", "", 7, None]
)


@st.composite
def _schemas(draw: st.DrawFn) -> Any:
    """A schema with another type, name, or nothing somewhere in it."""
    found = copy.deepcopy(draw(st.sampled_from(STRANGE_SCHEMAS)))
    kind = draw(st.integers(0, 4))
    if kind == 0 and found["fields"]:
        found["fields"][0]["type"] = draw(
            st.one_of(_types, st.lists(_types, max_size=3), st.dictionaries(_types, _types, max_size=2))
        )
    elif kind == 1:
        found.pop(draw(st.sampled_from(["name", "fields", "type"])))
    elif kind == 2:
        found["name"] = draw(st.one_of(st.text(max_size=10), st.just("a" * 5_000), st.just("x; import os")))
    elif kind == 3 and found["fields"]:
        found["fields"] = [
            {**found["fields"][0], "name": draw(st.one_of(st.text(max_size=6), st.just("f")))},
            {"name": draw(st.text(max_size=6)), "type": draw(_types), "default": draw(_types)},
        ]
    return found


@given(_schemas(), st.binary(max_size=40))
@examples(150)
def test_a_schema_of_a_stranger_is_used_or_refused(schema: Any, body: bytes) -> None:
    """Whatever its names and types are: a schema may become part of a program."""
    with bounded(_SECONDS, _MEGABYTES, schema, body):
        schemas = MemorySchemas()
        schemas.add(7, schema)
        with suppress(CodecError):
            Codec(schemas).decode(b"\0\0\0\0\7" + body)
