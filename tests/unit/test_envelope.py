"""The envelope on the wire, and the ids derived from it. Other languages' clients test against these vectors
(wire-12), which never change (wire-21).
"""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kantor import envelope
from kantor.envelope import NAMESPACE, Envelope
from kantor.errors import EnvelopeError, UnreadableHeadersError

FULL = Envelope(
    id="e1",
    source="payment",
    type="payment.PaymentCaptured",
    correlation_id="order-4711",
    causation_id="c1",
    time=1_769_860_800_123,
    idempotency_key="k1",
    expiry_time=1_769_860_900_000,
    reverses="r1",
    asks="k2",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    tracestate="a=b",
)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (envelope.derived_id("a"), "3cab8354-5fdc-5e31-b566-63acabc3e697"),
        (envelope.derived_id("a", 1), "6a114e93-ab02-53ff-8e36-0b74aa2f6c96"),
        (envelope.derived_id('ü"\\\n', 0), "2ee990f4-4ba9-5397-a043-1de6b9678f10"),
        (
            envelope.command_id("order-4711", "shipping", "action", 1, 1),
            "b17cb896-ec63-59da-b9a5-c7fda5cd9215",
        ),
        (
            envelope.command_id("order-4711", "shipping", "action", 1, 2),
            "d0237a80-f46f-5a67-8a44-8ee50b786da1",
        ),
        (
            envelope.command_id("order-4711", "payment", "compensation", 1, 1),
            "04e47d7d-cf2c-5524-ab48-06176366c8d6",
        ),
        (
            envelope.idempotency_key("order-4711", "shipping", "action", 1),
            "73ed3e57-35f4-54b2-aca5-41b223046976",
        ),
        (
            envelope.event_id("5b7f3d52-6d0f-5c0e-8f7e-0d1c7d8f1a11", "payment.PaymentCaptured", 0),
            "f0beca10-6c75-5e13-828a-368ff6a95f0a",
        ),
        (
            envelope.choreographed_action("order-4711", "payment.PaymentCaptured"),
            "ab2f8d7d-ea8e-5f64-8163-28deabeb1a00",
        ),
        (
            envelope.choreographed_action("order-4711", "payment.PaymentCaptured", "2"),
            "4e9aa0aa-345b-53f9-b4b3-b626afc96a5a",
        ),
        (envelope.shard_of("order-4711", 24), 7),
        (envelope.shard_of("order-4711", 4), 3),
        (envelope.fingerprint("shop", "1"), -790964329359944056),
    ],
)
def test_published_vectors(found: object, expected: object) -> None:
    """Derived ids never change: these vectors are published."""
    assert found == expected


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.integers(), max_size=5))
def test_an_id_is_a_uuid5_of_a_json_array(parts: list[str | int]) -> None:
    """Any language can derive the same ids with its uuid5 and a JSON encoder."""
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    assert envelope.derived_id(*parts) == str(uuid.uuid5(NAMESPACE, text))


def test_headers_round_trip() -> None:
    """What is written as headers is read back."""
    assert envelope.read(FULL.headers()) == FULL


def test_header_names() -> None:
    """The headers are CloudEvents' Kafka binding in binary mode, and W3C's trace context."""
    assert envelope.header_map(FULL.headers()) == {
        "ce_specversion": b"1.0",
        "ce_id": b"e1",
        "ce_source": b"payment",
        "ce_type": b"payment.PaymentCaptured",
        "ce_correlationid": b"order-4711",
        "content-type": b"application/avro",
        "ce_time": b"2026-01-31T12:00:00.123Z",
        "ce_causationid": b"c1",
        "ce_idempotencykey": b"k1",
        "ce_expirytime": b"2026-01-31T12:01:40.000Z",
        "ce_reverses": b"r1",
        "ce_asks": b"k2",
        "traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": b"a=b",
    }


def test_optional_attributes_are_left_out() -> None:
    """An attribute that is not set makes no header."""
    minimal = Envelope(id="e1", source="s", type="t", correlation_id="c")
    assert len(minimal.headers()) == 6
    read = envelope.read(minimal.headers())._asdict()
    assert [name for name, value in read.items() if value] == ["id", "source", "type", "correlation_id"]


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_type", "ce_correlationid"])
def test_a_missing_attribute_is_named(name: str) -> None:
    """A record without a required attribute is refused, and the header is named."""
    with pytest.raises(EnvelopeError, match=name):
        envelope.read([header for header in FULL.headers() if header[0] != name])


@pytest.mark.parametrize("id_", [b"", b"a b", b"a/b", b"x" * 129, b"\xff", "ü".encode()])
def test_a_malformed_transaction_id_is_refused(id_: bytes) -> None:
    """A transaction id is 1 to 128 of ``[A-Za-z0-9._:-]``."""
    with pytest.raises(EnvelopeError, match="malformed transaction id"):
        envelope.transaction_id_of({"ce_correlationid": id_})


def test_the_last_of_repeated_headers_counts() -> None:
    """Kafka allows a header twice; the last one wins, and null is none."""
    assert envelope.header_map([("a", b"1"), ("a", b"2"), ("b", None)]) == {"a": b"2"}


def test_headers_by_name() -> None:
    """Of a repeated name that is no attribute the last value counts; an attribute may be repeated with the same value."""
    assert envelope.attributes(None) == {}
    found = envelope.attributes([("a", b"1"), ("ce_id", b"x"), ("a", b"2"), ("ce_id", b"x"), ("b", None)])
    assert found == {"a": b"2", "ce_id": b"x", "b": None}


def test_an_attribute_that_is_there_twice_is_refused() -> None:
    """Nobody knows which of two transactions is meant; the last is no better than the first."""
    headers = [*FULL.headers(), ("ce_correlationid", b"another")]
    with pytest.raises(
        EnvelopeError, match="ce_correlationid is present twice, as 'order-4711' and as 'another'"
    ):
        envelope.attributes(headers)
    with pytest.raises(EnvelopeError, match="present twice"):
        envelope.read(headers)


@pytest.mark.parametrize("version", [b"0.3", b"1.1", b"", None])
def test_another_version_of_cloudevents_is_refused(version: bytes | None) -> None:
    """Attributes of another version may mean something else."""
    with pytest.raises(EnvelopeError, match=r"^ce_specversion is .*: only 1\.0 is supported"):
        envelope.attributes([("ce_specversion", version)])


def test_headers_that_a_client_cannot_give() -> None:
    """Whoever asks for an attribute learns why there is none."""
    headers = envelope.unreadable("a header's name is not UTF-8: b'\\xff'")
    with pytest.raises(UnreadableHeadersError, match="can't be read: a header's name is not UTF-8"):
        envelope.attributes(headers)
    with pytest.raises(UnreadableHeadersError, match="can't be read: a header's name is not UTF-8"):
        envelope.transaction_id_of(dict(headers))


def test_a_structured_event_says_so() -> None:
    """Its attributes are in its value, where nobody looks: the remedy is named."""
    headers = {"content-type": b"application/cloudevents+json; charset=utf-8"}
    with pytest.raises(EnvelopeError, match=r"in structured mode .* send it in binary mode"):
        envelope.transaction_id_of(headers)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["ce_id", "ce_specversion", "ce_correlationid", "ce_time", "x", envelope.UNREADABLE]
            )
            | st.text(),
            st.none() | st.binary(),
        )
    )
)
def test_headers_are_read_or_refused(headers: list[tuple[str, bytes | None]]) -> None:
    """Whatever the headers are, they give attributes or an ``EnvelopeError``."""
    for read in (envelope.attributes, envelope.read, lambda h: envelope.transaction_id_of(dict(h))):
        try:
            read(headers)
        except EnvelopeError as error:
            assert str(error).encode()


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-31T12:00:00.123Z", 1_769_860_800_123),
        ("2026-01-31T13:00:00.123+01:00", 1_769_860_800_123),
        ("2026-01-31T12:00:00.123456Z", 1_769_860_800_123),
    ],
)
def test_times_are_read(text: str, milliseconds: int) -> None:
    """RFC 3339 with any offset and fraction becomes milliseconds since the epoch."""
    assert envelope.parse_rfc3339(text) == milliseconds


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-31", "2026-01-31T12:00:00"])
def test_times_without_offset_are_refused(text: str) -> None:
    """A time that names no moment is refused, never guessed."""
    with pytest.raises(EnvelopeError):
        envelope.parse_rfc3339(text)


@given(st.integers(0, 253_402_300_799_999))
def test_times_round_trip(milliseconds: int) -> None:
    """Every millisecond until the year 9999 is written and read back exactly."""
    assert envelope.parse_rfc3339(envelope.rfc3339(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (1_800_000_000_000_000, "+59009-09-24T08:00:00.000Z"),  # microseconds, taken for milliseconds
        (-1, "1969-12-31T23:59:59.999Z"),
        (-62_135_596_800_001, "+0000-12-31T23:59:59.999Z"),
        (2**63 - 1, "+292278994-08-17T07:12:55.807Z"),
        (-(2**63), "-292275055-05-16T16:47:04.192Z"),
    ],
)
def test_strange_times_are_written(milliseconds: int, text: str) -> None:
    """A time that no calendar of Python has is shown nevertheless: a record may claim any."""
    assert envelope.rfc3339(milliseconds) == text
