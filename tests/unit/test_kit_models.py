"""Python classes from Avro schemas."""

from __future__ import annotations

import datetime
import importlib.util
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

import kantor_examples.checkout.messages
import kantor_schemas
from kantor import ConfigError, records
from kantor.codec import Codec, MemorySchemas
from kantor.models import generate, load, main
from kantor_schemas import EXAMPLES_FOLDER, SYSTEM_FOLDER, Catalog, Schema

NESTED: Schema = {
    "type": "record",
    "name": "ClaimFiled",
    "namespace": "claims",
    "kantor.topic": "evt.claims.claim.v1",
    "doc": 'A claim with "quotes" and a \\ backslash.',
    "fields": [
        {"name": "claim_id", "type": {"type": "string", "logicalType": "uuid"}, "doc": "Ours."},
        {
            "name": "kind",
            "type": {"type": "enum", "name": "Kind", "symbols": ["CAR", "HOUSE"], "default": "CAR"},
        },
        {"name": "other_kind", "type": ["null", "Kind"], "default": None},
        {
            "name": "items",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Item",
                    "fields": [
                        {
                            "name": "price",
                            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
                        },
                        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
                    ],
                },
            },
        },
        {"name": "by_name", "type": {"type": "map", "values": "Item"}, "default": {}},
        {"name": "best", "type": ["null", "claims.Item"], "default": None},
        {
            "name": "rows",
            "type": {"type": "array", "items": {"type": "array", "items": "Kind"}},
            "default": [],
        },
        {"name": "filed_at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 0},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "int", "logicalType": "time-millis"}, "default": 3600000},
        {"name": "photo", "type": ["null", "bytes"], "default": None},
        {
            "name": "hash",
            "type": {"type": "fixed", "name": "Hash", "size": 4},
            "default": "\u0001\u00ff\u0000A",
        },
        {"name": "share", "type": "double", "default": 1},
        {"name": "either", "type": ["string", "long"], "default": "none"},
        {"name": "class", "type": "string", "default": "a"},
        {"name": "TYPE", "type": "boolean", "default": True},
    ],
}


def module(text: str, folder: Path) -> ModuleType:
    """The generated text, imported."""
    path = folder / "generated_messages.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("generated_messages", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules["generated_messages"] = found
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def claims(tmp_path: Path) -> Any:
    return module(generate(Catalog([NESTED]), "Claims"), tmp_path)


def claim(claims: Any, **more: Any) -> Any:
    return claims.ClaimFiled(
        claim_id=UUID("6f1c2a52-5d0e-5b6c-9a43-b1d2f0c7e94a"),
        kind=claims.Kind.HOUSE,
        items=[claims.Item(price=Decimal("12.50"), tags=["a"]), claims.Item(price=Decimal("0.01"))],
        day=datetime.date(2026, 1, 31),
        **more,
    )


def test_the_checkout_example_is_up_to_date() -> None:
    """The example's checked-in classes are what its schemas generate."""
    text = generate(load([EXAMPLES_FOLDER / "checkout"]), "Messages of the checkout example")
    path = kantor_examples.checkout.messages.__file__
    assert path is not None
    assert Path(path).read_text(encoding="utf-8") == text


def test_the_platforms_records_are_up_to_date() -> None:
    """The kit's own records are what their schemas generate."""
    files = [SYSTEM_FOLDER / "StepFailed.avsc", SYSTEM_FOLDER / "TransactionEnded.avsc"]
    assert Path(records.__file__).read_text(encoding="utf-8") == generate(
        load(files), "Kantor's own messages"
    )


def test_a_class_knows_its_schema() -> None:
    """A class carries its type, topic and schema."""
    reserved = kantor_examples.checkout.messages.StockReserved
    assert reserved.TYPE == "inventory.StockReserved"
    assert reserved.TOPIC == "evt.inventory.stock.v1"
    assert kantor_schemas.example("checkout")["inventory.StockReserved"] == reserved.SCHEMA


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "best": ("Item", {"price": Decimal("1.00")}),
            "photo": b"\0",
            "either": 7,
            "class_": "b",
            "TYPE_": False,
            "filed_at": datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC),
        },
    ],
)
def test_everything_round_trips(claims: Any, more: dict[str, Any]) -> None:
    """Nested records, enums, arrays, maps, optional and logical types survive the codec."""
    if "best" in more:
        name, fields = more["best"]
        item = getattr(claims, name)(**fields)
        more = {**more, "best": item, "by_name": {"x": item}, "rows": [[claims.Kind.CAR], []]}
        more["other_kind"] = claims.Kind.CAR
    message = claim(claims, **more)
    codec = Codec(MemorySchemas())
    value = codec.encoder(claims.ClaimFiled.SCHEMA, claims.ClaimFiled.TOPIC)(message.to_avro())
    assert claims.ClaimFiled.from_avro(codec.decode(value)) == message


def test_defaults(claims: Any) -> None:
    """A field that an older writer did not know takes the schema's default."""
    full = claim(claims).to_avro()
    required = {name: full[name] for name in ("claim_id", "kind", "items", "day")}
    read = claims.ClaimFiled.from_avro(required)
    assert read == claim(claims)
    assert read.filed_at == datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert read.at == datetime.time(1, 0, tzinfo=None)
    assert read.hash == b"\x01\xff\x00A"
    assert read.share == 1.0
    assert read.by_name == {}


def test_an_unknown_symbol_takes_the_enums_default(claims: Any) -> None:
    """A symbol that a newer writer added is read as the enum's default, as Avro says."""
    assert claims.Kind("BOAT") is claims.Kind.CAR


def test_messages_are_frozen_and_keyword_only(claims: Any) -> None:
    """A message is a value: made by name, never changed."""
    with pytest.raises(AttributeError):
        claim(claims).share = 2.0
    with pytest.raises(TypeError):
        claims.Item(Decimal("1.00"))


def test_generated_code_is_strictly_typed(tmp_path: Path) -> None:
    """mypy --strict has nothing to say about generated code."""
    (tmp_path / "claims.py").write_text(generate(Catalog([NESTED]), "Claims"), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "claims.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stdout == "Success: no issues found in 1 source file\n"


def test_the_same_text_again() -> None:
    """Generating is deterministic, whatever order the schemas come in."""
    schemas = list(kantor_schemas.example("checkout").values())
    assert generate(Catalog(schemas), "x") == generate(Catalog(reversed(schemas)), "x")


def field(type_: object) -> Catalog:
    return Catalog(
        [{"type": "record", "name": "R", "namespace": "n", "fields": [{"name": "f", "type": type_}]}]
    )


@pytest.mark.parametrize(
    ("catalog", "message"),
    [
        (field("Unknown"), r"n\.R uses n\.Unknown, which it does not define"),
        (
            field(
                [
                    {"type": "record", "name": "A", "fields": []},
                    {"type": "record", "name": "B", "fields": []},
                ]
            ),
            "several named types",
        ),
        (
            Catalog(
                [
                    *field({"type": "record", "name": "A", "fields": []}).values(),
                    {
                        "type": "record",
                        "name": "A",
                        "namespace": "n",
                        "fields": [{"name": "x", "type": "int"}],
                    },
                ]
            ),
            r"n\.A is defined twice",
        ),
    ],
)
def test_what_cannot_be_generated(catalog: Catalog, message: str) -> None:
    """What has no honest Python form is refused, with the place."""
    with pytest.raises(ConfigError, match=message):
        generate(catalog, "x")


def test_equal_names_in_two_namespaces(tmp_path: Path) -> None:
    """Records of one name in two namespaces get two classes."""
    empty = {"type": "record", "name": "Address", "fields": []}
    catalog = Catalog([{**empty, "namespace": "a"}, {**empty, "namespace": "b"}])
    found = module(generate(catalog, "x"), tmp_path)
    assert (found.Address.TYPE, found.BAddress.TYPE) == ("a.Address", "b.Address")


def test_command_line(tmp_path: Path) -> None:
    """``python -m kantor.models`` writes the module."""
    (tmp_path / "ClaimFiled.avsc").write_text(json.dumps(NESTED), encoding="utf-8")
    out = tmp_path / "messages.py"
    assert main([str(tmp_path), "--out", str(out), "--title", "Claims"]) == 0
    assert out.read_text(encoding="utf-8") == generate(Catalog([NESTED]), "Claims")


def test_command_line_without_schemas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without schemas is an error on stderr, and nothing is written."""
    assert main([str(tmp_path), "--out", str(tmp_path / "messages.py")]) == 1
    assert "no schema found" in capsys.readouterr().err
    assert not (tmp_path / "messages.py").exists()
