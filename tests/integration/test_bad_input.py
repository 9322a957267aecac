"""Whatever comes in ends in its named place and stops nobody: after each piece of bad input, orders still complete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from integration.chaos_services import DEFINITION, MESSAGES, MoneyTaken, OrderPlaced, ReturnStock, StockTaken
from integration.evidence import effects
from integration.platform_kit import SHARDS, Platform
from kantor.clients import Record, TopicSpec
from kantor.envelope import shard_of
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.formats import journal, topics
from kantor_schemas import schema_id
from waiting import PATIENCE, until

SHOP = OrderPlaced.TOPIC
#: An id that no schema has.
UNKNOWN = b"\0\x7f\xff\xff\xff"
MIB = 1 << 20


@pytest.fixture(scope="module")
def platform(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(kafka, tmp_path_factory.mktemp("bad")) as platform:
        platform.services()
        roles = [platform.role(name).start() for name in ("intake", "engine", "view")]
        for role in roles:
            role.await_ready()
        platform.admin.set_config(SHOP, "max.message.bytes", str(10 * MIB))
        yield platform


def assert_unchanged(letter: Record, value: bytes | None, **headers: bytes) -> None:
    """A dead letter has the original bytes, key and headers, and says whose it is and why."""
    found = dict(letter.headers() or ())
    assert (letter.value(), letter.key()) == (value, b"any")
    assert headers.items() <= found.items()
    assert found["__dlq.errors.group"] == b"chaos.stock"
    assert found["__dlq.errors.message"]


def assert_orders_complete(platform: Platform) -> None:
    """On every shard and partition, as far as chance has it."""
    platform.await_completed(platform.place(12, "good"))


def test_bytes_that_are_no_avro(platform: Platform) -> None:
    """They go to the dead letters of the service that can't read them, and are an incident of their transaction."""
    id_ = platform.new_id()
    place = platform.send(OrderPlaced, id_, b"no avro", ce_id=b"not-avro", mine=b"kept")
    assert_unchanged(platform.dead_letter("stock", place), b"no avro", ce_id=b"not-avro", mine=b"kept")
    assert f"{place}: not Avro in Confluent wire format" in platform.incident(id_)
    assert_orders_complete(platform)


def test_an_unknown_schema_id(platform: Platform) -> None:
    """It goes to the dead letters, and is an incident that names the id."""
    id_ = platform.new_id()
    place = platform.send(OrderPlaced, id_, UNKNOWN + b"rest")
    assert_unchanged(platform.dead_letter("stock", place), UNKNOWN + b"rest")
    assert "schema id 2147483647 is unknown" in platform.incident(id_)
    assert_orders_complete(platform)


def test_a_null_value(platform: Platform) -> None:
    """It goes to the dead letters as a null value, and is an incident."""
    id_ = platform.new_id()
    place = platform.send(OrderPlaced, id_, None)
    assert_unchanged(platform.dead_letter("stock", place), None)
    assert "the value is null" in platform.incident(id_)
    assert_orders_complete(platform)


@pytest.mark.parametrize(
    ("id_", "reason"), [(None, "no transaction id"), ("no id, with blanks", "malformed transaction id")]
)
def test_a_message_of_no_transaction(platform: Platform, id_: str | None, reason: str) -> None:
    """Without a valid transaction id it goes to the dead letters; intake counts it by topic, with a sample."""
    value = platform.encode(OrderPlaced(order_id="1", plan="good"))
    before = {said: found.count for said, found in platform.uncorrelated(SHOP).items()}
    place = platform.send(OrderPlaced, id_, value)
    assert_unchanged(platform.dead_letter("stock", place), value)

    def said() -> list[tuple[str, int, bool]]:
        found = platform.uncorrelated(SHOP).items()
        return [(u.sample, u.count - before.get(said, 0), reason in said[1]) for said, u in found]

    until(lambda: (place, 1, True) in said(), f"intake counts {place}", platform.tails)
    until(lambda: place in platform.cli("status", "--json").stdout, "the status shows it", platform.tails)
    assert_orders_complete(platform)


def test_five_megabytes_that_are_no_avro(platform: Platform) -> None:
    """On a topic that takes them they go to the dead letters whole, and are an incident."""
    id_, value = platform.new_id(), b"x" * 5 * MIB
    place = platform.send(OrderPlaced, id_, value)
    assert_unchanged(platform.dead_letter("stock", place), value)
    assert "not Avro in Confluent wire format" in platform.incident(id_)
    assert_orders_complete(platform)


def test_five_megabytes_that_nobody_needs(platform: Platform) -> None:
    """An order with a note of 5 MB that no command wants completes like any other."""
    id_ = platform.new_id()
    order = OrderPlaced(order_id="1", plan="good", note="x" * 5 * MIB)
    platform.send(OrderPlaced, id_, platform.encode(order))
    platform.await_completed([id_])
    assert_orders_complete(platform)


def test_five_megabytes_to_be_kept(platform: Platform) -> None:
    """A field of 5 MB that commands want is refused: an incident that names the limit."""
    id_ = platform.new_id()
    platform.send(OrderPlaced, id_, platform.encode(OrderPlaced(order_id="1", plan="x" * 5 * MIB)))
    assert "more than 262,144 characters" in platform.incident(id_)
    assert_orders_complete(platform)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [({"type": "string"}, "is not a record"), ({"type": "nonsense", "name": "x"}, "is not valid Avro")],
)
def test_a_schema_that_describes_no_message(platform: Platform, schema: dict[str, str], reason: str) -> None:
    """What was written with such a schema goes to the dead letters, and is an incident."""
    schema_key = schema_id(schema)
    text = json.dumps(schema).encode()
    platform.send_to(topics.SCHEMAS, text, str(schema_key).encode(), {})
    id_, value = platform.new_id(), b"\0" + schema_key.to_bytes(4, "big") + b"\x06abc"
    place = platform.send(OrderPlaced, id_, value)
    assert_unchanged(platform.dead_letter("stock", place), value)
    assert reason in platform.incident(id_)
    assert_orders_complete(platform)


LINKS = '["null", {"type": "record", "name": "Link", "fields": [{"name": "next", "type": ["null", "Link"]}]}]'
LISTS = '{"type": "array", "items": ' * 5_000 + '"null"' + "}" * 5_000


def test_schemas_that_nest_without_end(platform: Platform) -> None:
    """What was written with such a schema, by the right name, goes to the dead letters, and is an incident; `kantor status` counts
    both. To read it would end a process."""
    before = said(platform)
    links, as_links = sent_with(platform, LINKS, b"\2" * 5_000 + b"\0")
    lists, as_lists = sent_with(platform, LISTS, b"\0")
    assert "values nest deeper than 100 levels" in platform.incident(links)
    assert f"{as_lists}: schema id 1 is unknown" in platform.incident(lists)
    assert_orders_complete(platform)
    assert [now - then for now, then in zip(said(platform), before, strict=True)] == [2, 2]
    assert as_links in platform.cli("trace", links).stdout


def sent_with(platform: Platform, more: str, rest: bytes) -> tuple[str, str]:
    """A start whose schema has a field of the type ``more`` before those of the message: its transaction and its place. The service
    has set it aside."""
    field = f'"fields": [{{"name": "more", "type": {more}}}, '
    text = json.dumps(OrderPlaced.SCHEMA).replace('"fields": [', field, 1)
    schema_key = schema_id(json.loads(text)) if more == LINKS else 1
    platform.send_to(topics.SCHEMAS, text.encode(), str(schema_key).encode(), {})
    id_, order = platform.new_id(), platform.encode(OrderPlaced(order_id="1", plan="good"))
    value = b"\0" + schema_key.to_bytes(4, "big") + rest + order[5:]
    place = platform.send(OrderPlaced, id_, value)
    assert_unchanged(platform.dead_letter("stock", place), value)
    return id_, place


def said(platform: Platform) -> tuple[int, int]:
    """Dead letters of the service `stock`, and open incidents, as `kantor status` counts them."""
    told = json.loads(platform.cli("status", "--json").stdout)
    letters = {one["topic"]: one["count"] for one in told["dead_letters"]}
    return letters.get("dlq.chaos.stock", 0), told["incidents"]["open"]


def test_a_state_that_grows_bit_by_bit(platform: Platform) -> None:
    """Sixty early answers of 30 KB each, none too large by itself, are an incident at the limit."""
    id_ = platform.new_id()
    value = platform.encode(StockTaken(order_id="1", plan="x" * 30_000))
    for _ in range(60):
        platform.send(StockTaken, id_, value)
    assert "more than 262,144 characters" in platform.incident(id_)
    assert_orders_complete(platform)


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_causationid", "tracestate"])
def test_an_endless_attribute(platform: Platform, name: str) -> None:
    """An attribute that fills a record, and would fill more than one in the history, stops nobody."""
    value = platform.encode(MoneyTaken(order_id="1", plan="good"))
    platform.send(MoneyTaken, platform.new_id(), value, **{name: b"x" * 900_000})
    order = platform.encode(OrderPlaced(order_id="1", plan="good"))
    platform.send(OrderPlaced, platform.new_id(), order, **{name: b"x" * 900_000})
    assert_orders_complete(platform)


def test_an_answer_that_can_not_be_read(platform: Platform) -> None:
    """A poison answer is an incident of its transaction; what comes after it waits in order, until a person does without it."""
    orders = platform.place(1, "good")
    (id_,) = orders
    platform.send(MoneyTaken, id_, b"no avro")
    assert "chaos.money.MoneyTaken" in platform.incident(id_)
    act = journal.ActEntry(f"skip-{id_}", "skip", "ann", "it was no answer")
    producer = platform.settings.producer("ann")
    producer.produce(topics.JOURNAL, act.dump(), id_.encode(), journal.ACT_HEADERS, shard_of(id_, SHARDS))
    producer.flush()
    platform.await_completed(orders)
    assert_orders_complete(platform)


def test_a_topic_of_commands_that_is_deleted(platform: Platform) -> None:
    """An order that needs it waits for a person, who is told its name; all others complete. Once it is there again, `kantor retry`
    sends the command, and the order ends as it had to."""
    topic = ReturnStock.TOPIC
    partitions = platform.admin.topics()[topic]
    admin = AdminClient({"bootstrap.servers": platform.settings.bootstrap_servers})
    admin.delete_topics([topic])[topic].result(PATIENCE)
    until(lambda: topic not in platform.admin.topics(), f"{topic} is gone")
    waiting = platform.place(1, "no_money")
    (id_,) = waiting
    assert_orders_complete(platform)
    shown = platform.seen(id_, lambda trace: bool(trace.incidents))
    assert [topic in incident.reason for incident in shown.incidents] == [True]
    assert shown.status == Status.COMPENSATING
    platform.admin.create_topics([TopicSpec(topic, partitions)])
    done = platform.cli("retry", id_, "--why", "the topic is there again")
    assert done.returncode == 0, done.stderr
    platform.await_ended(waiting, 1)
    assert effects(platform)[id_] == {"stock": [1, -1]}
    assert_orders_complete(platform)


def test_an_event_of_no_saga(platform: Platform) -> None:
    """What no saga names is followed by the view, as observed, and is none of the engine's business."""
    topic, id_ = "evt.chaos.weather.v1", platform.new_id()
    platform.admin.create_topics([TopicSpec(topic, 1)])
    headers = {"ce_id": b"1", "ce_source": b"sky", "ce_type": b"chaos.weather.Rained"}
    place = platform.send_to(topic, b"wet", None, headers | {"ce_correlationid": id_.encode()})
    shown = platform.seen(id_, lambda trace: trace.status == "observed")  # once the engine has passed it
    assert shown.saga == ""
    assert [(m.type, m.origin) for m in shown.timeline] == [("chaos.weather.Rained", place)]
    assert_orders_complete(platform)
    assert platform.follower.status(id_) is None


def test_a_definition_with_a_typo(platform: Platform, tmp_path: Path) -> None:
    """Deploying it fails with file, line and remedy, and changes nothing."""
    for message in MESSAGES:
        (tmp_path / f"{message.TYPE}.avsc").write_text(json.dumps(message.SCHEMA))
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(DEFINITION.replace("version: 1", "version: 2").replace("timeout: 5s", "timeuot: 5s", 1))
    line = wrong.read_text().splitlines().index("    timeuot: 5s") + 1
    before = platform.cli("definitions", "--json").stdout
    refused = platform.cli("deploy", str(wrong), "--schemas", str(tmp_path))
    assert refused.returncode == 1
    assert f"{wrong}:{line}:5: steps.stock: unknown word `timeuot`; did you mean `timeout`?" in refused.stderr
    assert platform.cli("definitions", "--json").stdout == before
    assert_orders_complete(platform)
