"""A platform in memory to which sagas are deployed, and schemas that break them."""

from __future__ import annotations

from kantor.codec import Codec
from kantor.schemas import KafkaSchemas
from kantor.testing import MemoryBroker
from kantor_orchestrator.core.transaction import Status, Transaction
from kantor_orchestrator.definitions.deploy import Deployment, deploy, read
from kantor_orchestrator.definitions.undeploy import undeploy
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.snapshots import transaction_record
from kantor_schemas import Catalog, Schema, system
from unit import definitions_kit
from unit.definitions_kit import SCHEMAS, order, record

V1, V2 = order(), order(line_2="version: 2")
WISHED = record("shop.Wished", "evt.shop.wish.v1", order_id="string", sku="string", price="long")
OTHER = order(line_1="saga: other", line_3="starts_on: shop.Wished")
#: `parcel.Book` with a field that nothing fills.
GIFT = record("parcel.Book", order_id="string", sku="string", shelf="string", gift="boolean")
#: The same, compatible.
OPTIONAL = record("parcel.Book", order_id="string", sku="string", shelf="string", gift=("boolean", False))
#: With what `parcel.Book` needs of it in another type.
NUMBERED = record("stock.Reserved", "evt.stock.stock.v1", order_id="string", shelf="long", price="long")
SHELFLESS = record("stock.Reserved", "evt.stock.stock.v1", order_id="string", price="long")
MOVED = record("parcel.Book", "cmd.carrier.v1", order_id="string", sku="string", shelf="string")
#: A version 2 that fills what `GIFT` asks for.
V2_GIFT = V2.replace("    command: parcel.Book", "    command: {type: parcel.Book, fields: {gift: true}}")
#: A version 2 that can live without a shelf.
V2_SHELFLESS = V2.replace(
    "    command: parcel.Book", "    command: {type: parcel.Book, fields: {shelf: \"'?'\"}}"
)


def catalog(*schemas: Schema) -> Catalog:
    return Catalog([*SCHEMAS.values(), WISHED, *schemas])


CHILD = order(line_1="saga: child", line_3="starts_on: shop.Wished") + "\nreturns: {where: stock.shelf}"
PARENT = """
saga: parent
version: 1
starts_on: shop.Ordered
deadline: 1h
steps:
  inner: {saga: child}
  parcel:
    after: inner
    command: {type: parcel.Book, fields: {shelf: inner.where}}
    succeeds_on: parcel.Booked
"""


class Platform:
    """A cluster in memory, with transactions in its state."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.clients = self.broker.clients()
        self.schemas = KafkaSchemas(self.clients)
        self.heard: list[str] = []
        self.clients.admin().create_topics(topics.specs(2, 1 << 20))
        codec = Codec(self.schemas)
        self._state = codec.encoder(system("TransactionState"), topics.STATE)
        self._shard = codec.encoder(system("ShardRecord"), topics.STATE)

    def deploy(self, text: str, *schemas: Schema, now: int) -> Deployment:
        written = definitions_kit.read(text).models()
        return deploy(written, catalog(*schemas), self.clients, self.schemas, now=now)

    def undeploy(self, saga: str, version: int | None) -> list[str]:
        removed = undeploy(saga, version, self.clients, self.schemas, tell=self.heard.append)
        return [bundle.key for bundle in removed]

    def put(self, id_: str, status: Status | None, version: int = 1, shard: int = 0) -> None:
        """A snapshot as the engine commits it; None: its tombstone."""
        value = None
        if status is not None:
            txn = Transaction(id_, saga="order", version=version, status=status)
            value = self._state(transaction_record(txn))
        self._commit(id_.encode(), value, shard)

    def processed(self, clock: int, position: int = 1) -> None:
        """What was sent up to then, and lies before this position of the journal, has been processed."""
        for shard in range(2):
            record = {"position": position, "clock": clock, "history": 0, "epoch": 0, "holds": {}}
            self._commit(topics.SHARD_KEY, self._shard(record), shard)

    def _commit(self, key: bytes, value: bytes | None, shard: int) -> None:
        producer = self.clients.producer("engine", transactional_id=f"engine-{shard}")
        producer.init_transactions()
        producer.begin()
        producer.produce(topics.STATE, value, key, None, shard)
        producer.commit()

    def deployed(self) -> list[str]:
        return [b.key for b in read(self.clients, Codec(self.schemas)).bundles()]
