"""What the world may send: well-formed messages of the checkout with something wrong, and bytes that were never a message.

Everything is about transactions of its own (``h-0`` ...), so that a healthy one beside them has no reason to fare worse.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from kantor.clients import TopicSpec
from kantor.codec import Codec
from kantor.messages import Message
from kantor.records import StepFailed, TransactionEnded
from kantor.testing.clock import EPOCH
from kantor.writing import Writer
from kantor_examples.checkout.messages import (
    BookShipment,
    OrderPlaced,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    RefundPayment,
    ReleaseStock,
    ShipmentBooked,
    StockReserved,
)
from kantor_orchestrator.core.act_kinds import KINDS, ON_SAGAS
from kantor_orchestrator.formats import journal, topics
from simulation.processes import SCHEMAS

Header = tuple[str, bytes | None]
#: A topic that no saga and no service knows.
FOREIGN = TopicSpec("evt.foreign.thing.v1", 2)
IDS = [f"h-{number}" for number in range(6)]
#: How deep values are nested.
LEVELS = [1, 200]
#: The longest value that is tried: a quarter of what the journal takes.
_LONG = 200_000


@dataclass(frozen=True, slots=True)
class HostileRecord:
    """One record to append. ``partition`` is taken modulo those that there are."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[Header] | None
    timestamp: int


# -- schemas that anybody may publish


def _schema(name: str, type_: Any, namespace: str = "hostile") -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "namespace": namespace,
        "fields": [{"name": "f", "type": type_}],
    }


def _arrays(levels: int) -> Any:
    found: Any = "null"
    for _ in range(levels):
        found = {"type": "array", "items": found}
    return found


_DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 900, "scale": 800}
_LIST = _schema("List", ["null", "hostile.List"])
STRANGE_SCHEMAS: list[dict[str, Any]] = [
    _LIST,
    _schema("Nothings", {"type": "array", "items": "null"}),
    _schema("Nested", _arrays(60)),
    {"type": "record", "name": "Empty", "namespace": "hostile", "fields": []},
    _schema("Maps", {"type": "map", "values": {"type": "map", "values": "long"}}),
    _schema("Big", {"type": "fixed", "name": "F", "size": 2**31 - 1}),
    _schema("Decimal", _DECIMAL),
    _schema("Instant", {"type": "long", "logicalType": "timestamp-millis"}),
    _schema("Day", {"type": "int", "logicalType": "date"}),
    _schema("Id", {"type": "string", "logicalType": "uuid"}),
    _schema("Choice", ["null", "int", "string", {"type": "array", "items": "string"}]),
    _schema("OrderPlaced", "long", "shop"),  # everybody knows the name; the fields are others
]


def _id_of(schema: dict[str, Any]) -> bytes:
    return SCHEMAS.id_of(schema, FOREIGN.name).to_bytes(4, "big")


_STRANGE_IDS = [_id_of(schema) for schema in STRANGE_SCHEMAS]


def a_list(levels: int) -> bytes:
    """A record of the recursive schema, so many levels deep, in wire format."""
    return b"\0" + _id_of(_LIST) + b"\x02" * levels + b"\0"


# -- well-formed messages


def _good(id_: str) -> list[tuple[str, list[Message]]]:
    """By service, what it may say about a transaction."""
    return [
        (
            "shop",
            [OrderPlaced(order_id=id_, customer_id="c", sku="chair", quantity=1, amount_cents=100)],
        ),
        (
            "inventory",
            [
                StockReserved(order_id=id_, customer_id="c", sku="chair", quantity=1, amount_cents=100),
                StepFailed(code="no"),
            ],
        ),
        (
            "payment",
            [
                PaymentCaptured(order_id=id_, amount_cents=100),
                PaymentDeclined(order_id=id_, reason="no"),
                PaymentRefunded(order_id=id_, amount_cents=100),
            ],
        ),
        ("shipping", [ShipmentBooked(order_id=id_, tracking="t")]),
        (
            "somebody",  # may not write to these topics, and does
            [
                BookShipment(order_id=id_, sku="chair", quantity=1),
                RefundPayment(order_id=id_, amount_cents=100),
                ReleaseStock(order_id=id_),
                TransactionEnded(
                    transaction_id=id_,
                    saga="checkout",
                    version=1,
                    status="completed",
                    started_at=1,
                    ended_at=2,
                ),
            ],
        ),
    ]


#: Values that a schema allows, and nobody expects.
_EXTREMES: dict[type, list[Any]] = {
    str: ["", "\0", "\u202e\U0001f600", "a" * 70_000, "'; DROP TABLE effects; --", "{{7*7}}", "[" * 3_000],
    int: [0, -1, 2**31 - 1, -(2**31)],
    bool: [True],
    type(None): ["", "\0"],
}


def _sent() -> Iterator[tuple[str, str, Message]]:
    """By service and transaction: what may be said, and the same with one extreme value."""
    for number, id_ in enumerate(IDS):
        for service, messages in _good(id_):
            for message in messages:
                yield service, id_, message
                for field in dataclasses.fields(message):  # type: ignore[arg-type]  # all of ours are dataclasses
                    values = _EXTREMES[type(getattr(message, field.name))]
                    extreme = values[number % len(values)]
                    yield service, id_, dataclasses.replace(message, **{field.name: extreme})  # type: ignore[type-var]


def _well_formed() -> list[HostileRecord]:
    codec, found = Codec(SCHEMAS), list[HostileRecord]()
    for service, id_, message in _sent():
        writer = Writer(service, codec, [type(message)])
        sent = writer.start(writer.encode(message, EPOCH), id_, 0)
        topic = topics.ENDED if isinstance(message, TransactionEnded) else sent.topic
        found.append(HostileRecord(topic, 0, sent.key, sent.value, sent.headers, EPOCH))
    return found


WELL_FORMED = _well_formed()

# -- what is wrong with them

_ids = st.sampled_from(IDS)
_numbers = st.sampled_from(
    [0, 1, -1, 2**31, 2**63 - 1, -(2**63), 10**40, EPOCH, EPOCH - 90 * 86_400_000, EPOCH + 10**9]
)
_bytes = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"\0", b"\xff\xfe", b"null", b"NaN", b"1e999", b"a" * 2_000, b"\xf0" * 70_000]),
    _numbers.map(lambda number: str(number).encode()),
    _ids.map(str.encode),
)
_header_names = st.one_of(
    st.sampled_from(
        [
            "ce_id",
            "ce_source",
            "ce_type",
            "ce_time",
            "ce_specversion",
            "ce_correlationid",
            "ce_causationid",
            "ce_idempotencykey",
            "ce_expirytime",
            "ce_asks",
            "content-type",
            "traceparent",
            "__value_schema_id",
            journal.ENTRY,
            journal.ORIGIN,
            journal.TOPIC_ID,
            journal.PARENT,
            "\udcff\udcfe",  # no UTF-8
            "n" * 5_000,
            "",
        ]
    ),
    st.text(max_size=10),
)
_types = st.sampled_from(
    [
        "shop.OrderPlaced",
        "kantor.CompensateTransaction",
        "kantor.TransactionEnded",
        "kantor.StepFailed",
        "x.Y",
    ]
).map(str.encode)


def _value_of(name: str) -> st.SearchStrategy[bytes | None]:
    """A header's: of a transaction only our own."""
    if name == "ce_correlationid":
        return st.one_of(_ids.map(str.encode), st.none(), st.just(b"no such id\xff"), st.just(b"x" * 300))
    if name == "ce_type":
        return st.one_of(_types, _bytes)
    if name == "ce_source":
        return st.one_of(st.sampled_from([b"kantor", b"inventory"]), _bytes)
    return st.one_of(_bytes, st.none())


@st.composite
def _headers(draw: st.DrawFn, headers: Sequence[Header]) -> list[Header]:
    """With up to three things wrong: another value, one that is missing, one twice, one too many."""
    found = list(headers)
    for _ in range(draw(st.integers(0, 3))):
        name = draw(_header_names)
        places = [number for number, (known, _) in enumerate(found) if known == name]
        kind = draw(st.sampled_from(["other", "missing", "more"]))
        if places and kind == "missing":
            del found[places[0]]
        elif places and kind == "other":
            found[places[0]] = name, draw(_value_of(name))
        else:
            found.append((name, draw(_value_of(name))))
    return found


@st.composite
def bodies(draw: st.DrawFn, value: bytes) -> bytes | None:
    """Of a message whose value is well-formed: itself, something like it, or anything else."""
    kind = draw(st.integers(0, 9))
    if kind < 3:
        return value
    if kind == 3:
        place = draw(st.integers(0, max(0, len(value) - 1)))
        return value[:place] + draw(st.binary(max_size=6)) + value[place + 1 :]
    if kind == 4:
        return value[: draw(st.integers(0, len(value)))]
    if kind == 5:
        return b"\0" + draw(st.sampled_from(_STRANGE_IDS)) + draw(st.binary(max_size=30))
    if kind == 6:
        return a_list(draw(st.sampled_from(LEVELS)))
    if kind == 7:  # a count, or a length, that promises more than there is
        promise = draw(
            st.sampled_from([b"\xfe\xff\xff\xff\x0f", b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x80"])
        )
        return b"\0" + draw(st.sampled_from(_STRANGE_IDS)) + promise * draw(st.integers(1, 9))
    if kind == 8:
        return draw(json_texts()).encode("utf-8", "replace")
    return draw(st.one_of(st.none(), st.binary(max_size=60), st.just(b"\0" * _LONG)))


@st.composite
def json_texts(draw: st.DrawFn) -> str:
    """JSON, and what claims to be: deep, with numbers that nothing else knows, or broken off."""
    kind = draw(st.integers(0, 4))
    if kind == 0:
        levels = draw(st.sampled_from([10, 900, 3_000, 50_000]))
        return "[" * levels + "]" * levels
    if kind == 1:
        return draw(
            st.sampled_from(["NaN", "1e999", "-" + "9" * 5_000, '"\\ud800"', "{", '{"a":1}x', "\ufeff{}"])
        )
    leaves = st.one_of(st.none(), st.booleans(), _numbers, st.floats(), st.text(max_size=10))
    values = st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=8,
    )
    return json.dumps(draw(values))


@st.composite
def records(draw: st.DrawFn) -> HostileRecord:
    """A record on a source topic: mostly on its own."""
    good = draw(st.sampled_from(WELL_FORMED))
    topic = draw(st.sampled_from([good.topic] * 5 + [FOREIGN.name, topics.OWN_COMMANDS, topics.ENDED]))
    headers = draw(_headers(good.headers or ()))
    assert good.value is not None
    return HostileRecord(
        topic,
        draw(st.integers(0, 3)),
        draw(st.one_of(st.just(good.key), st.none(), st.binary(max_size=20))),
        draw(bodies(good.value)),
        draw(st.sampled_from([headers, headers, headers, [], None])),
        draw(st.one_of(st.just(EPOCH), st.sampled_from([0, -1, EPOCH - 10**12, EPOCH + 10**9]))),
    )


# -- records in the journal

_ACTS = [*KINDS, *ON_SAGAS, "nonsense", ""]


def _timer(draw: st.DrawFn) -> bytes:
    facts = [
        draw(st.sampled_from(["step", "deadline", "retry", ""])),
        draw(st.sampled_from(["payment", "x"])),
    ]
    return json.dumps([*facts, draw(_numbers), draw(_numbers), draw(_numbers)]).encode()


def _act(draw: st.DrawFn) -> bytes:
    act = {
        "id": draw(st.sampled_from(["a-1", "a-2", ""])),
        "act": draw(st.sampled_from(_ACTS)),
        "actor": draw(st.text(max_size=8)),
        "why": draw(st.text(max_size=8)),
        "step": draw(st.sampled_from(["", "payment", "stock", "no.such[9]"])),
        "fields": draw(st.one_of(st.just({}), st.dictionaries(st.text(max_size=5), _numbers, max_size=3))),
        "saga": draw(st.sampled_from(["", "no such saga"])),
    }
    return json.dumps(act).encode()


_VALUES: dict[bytes, Callable[[st.DrawFn], bytes]] = {journal.TIMER: _timer, journal.ACT: _act}


@st.composite
def entries(draw: st.DrawFn) -> HostileRecord:
    """A record in the journal, as a broken intake, or a stranger, might have written it. Nothing for all transactions: that
    would concern the healthy ones."""
    if draw(st.booleans()):
        found = draw(records())
        headers = [
            *(found.headers or ()),
            (journal.ENTRY, draw(st.sampled_from([journal.EVENT, journal.COMMAND, b"", b"nonsense"]))),
            (journal.ORIGIN, draw(st.sampled_from([b"evt.foreign.thing.v1/0/7", b"x", b"/-1/"]))),
            (journal.TOPIC_ID, draw(st.sampled_from([b"an id", b""]))),
            (journal.TIMESTAMP, draw(st.sampled_from([b"%d" % EPOCH, b"-1", b"7"]))),
        ]
        headers = draw(_headers(headers))
        value = found.value
    else:
        kind = draw(st.sampled_from([journal.TIMER, journal.ACT, b"refused", b"nonsense"]))
        headers = [(journal.ENTRY, kind)]
        made = _VALUES.get(kind)
        sound = made(draw) if made is not None else b"{}"
        value = draw(st.one_of(st.just(sound), bodies(sound)))
    key = draw(st.one_of(_ids.map(str.encode), st.sampled_from([b"\xff", b"h" * 3_000])))
    return HostileRecord(topics.JOURNAL, draw(st.integers(0, 3)), key, value, headers, EPOCH)
