"""Deploying definitions on a real Kafka: what is written, who sees it, and who is fenced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kantor.codec import Codec
from kantor.errors import FencedError
from kantor.kafka import KafkaSettings
from kantor.schemas import schema_store
from kantor_orchestrator.cli.main import main
from kantor_orchestrator.core.transaction import Status, Transaction
from kantor_orchestrator.definitions.catalogue import Definitions, DefinitionsTopic
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.snapshots import transaction_record
from kantor_schemas import Schema, full_name, system
from unit.definitions_kit import SCHEMAS, order, record
from waiting import until

V1 = order()
V2 = order(line_2="version: 2", line_4="deadline: 20m")


@pytest.fixture
def project(empty_kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaSettings]:
    """A folder with a saga and its schemas, and a Kafka that holds nothing yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KANTOR_BOOTSTRAP_SERVERS", empty_kafka)
    (tmp_path / "schemas").mkdir()
    for type_, schema in SCHEMAS.items():
        (tmp_path / "schemas" / f"{type_}.avsc").write_text(json.dumps(schema))
    yield KafkaSettings(empty_kafka)


def kantor(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def deploy(text: str, *options: str) -> Result:
    Path("order.yaml").write_text(text)
    return kantor("deploy", "order.yaml", *options)


def commit_state(settings: KafkaSettings, id_: str, status: Status | None) -> None:
    """A transaction on version 1, as the engine keeps it; None: nothing is kept of it any more."""
    encode = Codec(schema_store(settings)).encoder(system("TransactionState"), topics.STATE)
    transaction = Transaction(id_, saga="order", version=1, status=status or Status.OBSERVED)
    producer = settings.producer("test-engine", transactional_id="test-engine")
    producer.init_transactions()
    producer.begin()
    value = encode(transaction_record(transaction)) if status else None
    producer.produce(topics.STATE, value, id_.encode(), None, len(id_) % 2)
    producer.commit()


def change_schema(schema: Schema) -> None:
    (Path("schemas") / f"{full_name(schema)}.avsc").write_text(json.dumps(schema))


def watch(settings: KafkaSettings) -> Definitions:
    return DefinitionsTopic(settings, Codec(schema_store(settings)), "test-definitions").load()


def refresh(definitions: Definitions) -> None:
    """Refresh until something has changed: records take a moment to arrive."""
    until(definitions.refresh, "something arrives", pause=0.01)


def test_deploying(project: KafkaSettings) -> None:
    """From nothing to two versions: each is listed once, seen by whoever watches, and never changes."""
    assert kantor("definitions").stdout == ""

    first = deploy(V1)
    assert (first.exit_code, first.stdout) == (0, "order version 1: deployed\n"), first.output
    assert "created topic cmd.parcel.v1" in first.stderr
    assert {
        "evt.shop.order.v1",
        "evt.stock.stock.v1",
        "evt.parcel.failure.v1",
    } <= project.admin().topics().keys()

    definitions = watch(project)
    saga = definitions.starting_with("shop.Ordered")
    assert saga is not None
    assert saga.version == 1

    again = deploy(V1)
    assert again.stdout.startswith("order version 1: unchanged since 20")
    assert not definitions.refresh()

    changed = deploy(order(line_4="deadline: 20m"))
    assert (changed.exit_code, "make it version 2" in changed.stderr) == (1, True)

    assert deploy(V2).stdout == "order version 2: deployed\n"
    refresh(definitions)
    later = definitions.starting_with("shop.Ordered")
    assert later is not None
    assert (later.version, later.deployed_at) == (2, saga.deployed_at)
    definitions.close()

    listed = json.loads(kantor("definitions", "--json").stdout)
    assert [(found["saga"], found["version"]) for found in listed] == [("order", 1), ("order", 2)]


def test_a_deployment_that_would_strand_live_transactions(project: KafkaSettings) -> None:
    """Refused with their count, as data too; once they have ended it is allowed, and the old version can be removed when
    nothing is kept of them any more."""
    topics.ensure(project.admin(), 2)
    assert deploy(V1).exit_code == 0
    for id_ in ("t1", "t20"):
        commit_state(project, id_, Status.RUNNING)
    commit_state(project, "t300", Status.COMPLETED)
    change_schema(record("parcel.Book", order_id="string", sku="string", shelf="string", gift="boolean"))
    gift = V2.replace("    command: parcel.Book", "    command: {type: parcel.Book, fields: {gift: true}}")

    refused = deploy(gift, "--json")
    assert refused.exit_code == 1
    (stranded,) = json.loads(refused.stdout)["stranded"]
    assert (stranded["saga"], stranded["version"], stranded["transactions"]) == ("order", 1, 2)
    assert "2 transactions that run on order version 1 could not go on" in refused.stderr
    assert "nothing fills the field gift" in refused.stderr

    for id_ in ("t1", "t20"):
        commit_state(project, id_, Status.COMPENSATED)
    assert deploy(gift).stdout == "order version 2: deployed\n"
    kept = kantor("undeploy", "order", "1")
    assert (kept.exit_code, "3 transactions are ended on order version 1" in kept.stderr) == (1, True)
    assert "order version 2 is in force" in kantor("undeploy", "order", "2").stderr

    for id_ in ("t1", "t20", "t300"):
        commit_state(project, id_, None)
    assert (
        kantor("undeploy", "order", "--all").stdout == "order version 1: removed\norder version 2: removed\n"
    )
    assert kantor("definitions", "--json").stdout == "[]\n"
    assert kantor("undeploy", "order", "--all").exit_code == 4


def test_a_deployment_fences_the_one_before(project: KafkaSettings) -> None:
    """A deployment that another one overtook can't write any more."""
    assert deploy(V1).exit_code == 0
    slow = project.producer("slow", transactional_id="kantor-deploy")
    slow.init_transactions()
    assert deploy(V2).exit_code == 0
    with pytest.raises(FencedError):
        slow.begin()
        slow.produce("sys.kantor.definitions", b"x", b"order/3", None)
        slow.commit()
