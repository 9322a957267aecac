"""The platform as ``kantor run`` starts it, with a saga that the test is all services of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kantor_examples.checkout
from kantor.codec import Codec
from kantor.envelope import Envelope, command_id, event_id
from kantor.kafka import KafkaSettings
from kantor.schemas import schema_store
from kantor_orchestrator.config import ADDRESS_FILE
from kantor_orchestrator.definitions import files
from kantor_orchestrator.definitions.deploy import deploy
from kantor_orchestrator.dev.broker import DevBroker
from kantor_orchestrator.formats import topics
from kantor_schemas import Schema, example, full_name, system, topic_of
from waiting import PATIENCE, patiently

_DEFAULTS: dict[str, Any] = {"string": "x", "int": 1, "long": 4_200}


class Stack:
    """Broker, ``kantor run``, the checkout saga in which nothing times out."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._log = folder / "run.log"
        self._folder = folder
        self._broker = DevBroker(folder / "broker")
        self._run: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        self.kafka = KafkaSettings(self._broker.start())
        self._deploy()
        self._codec = Codec(schema_store(self.kafka))
        self._schemas = example("checkout")
        self._producer = self.kafka.producer("test-services", linger_ms=0)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("KANTOR_")}
        environment = ours | {
            "KANTOR_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KANTOR_HOME": str(self.home),
            "KANTOR_API_ADDRESS": "127.0.0.1:0",
        }
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "kantor_orchestrator.cli.main", "run"]
            self._run = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        address = self.home / ADDRESS_FILE
        self.until(address.exists, "the API is served")
        self.url = address.read_text().strip()
        self.until(self._all_run, "all roles run")

    def stop(self) -> None:
        if self._run is not None:
            self._run.terminate()
            self._run.wait(PATIENCE)
        self._broker.reset()

    # -- the services

    def say(self, type_: str, transaction: str, cause: str = "", **fields: Any) -> str:
        """An event; its id. Fields that are not given are made up."""
        return self._say(self._schemas[type_], topic_of(self._schemas[type_]), transaction, cause, fields)

    def fail(self, service: str, transaction: str, cause: str, reason: str) -> str:
        """The service can't do what it was told, and never will; the event's id."""
        topic = f"evt.{service}.failure.v1"
        fields = {"code": "refused", "message": reason, "retryable": False, "handling": ""}
        return self._say(system("StepFailed"), topic, transaction, cause, fields, service)

    def _say(
        self,
        schema: Schema,
        topic: str,
        transaction: str,
        cause: str,
        fields: dict[str, Any],
        source: str = "",
    ) -> str:
        type_ = full_name(schema)
        value = {f["name"]: fields.get(f["name"], _DEFAULTS.get(f["type"])) for f in schema["fields"]}
        id_ = event_id(cause or transaction, type_, 0)
        source = source or type_.partition(".")[0]
        headers = Envelope(
            id=id_, source=source, type=type_, correlation_id=transaction, causation_id=cause or None
        ).headers()
        encoded = self._codec.encoder(schema, topic)(value)
        self._producer.produce(topic, encoded, transaction.encode(), headers)
        self._producer.flush()
        return id_

    def order(self, transaction: str, number: int, **fields: Any) -> str:
        return self.say("shop.OrderPlaced", transaction, order_id=str(number), customer_id="ada", **fields)

    def paid(self, transaction: str, number: int, **fields: Any) -> None:
        """Ordered, reserved, paid: shipping has been asked."""
        cause = self.order(transaction, number, **fields)
        cause = self.say("inventory.StockReserved", transaction, cause, order_id=str(number))
        self.say("payment.PaymentCaptured", transaction, cause, order_id=str(number))
        self.await_step(transaction, "shipping", "active")

    def completed(self, transaction: str, number: int) -> None:
        self.paid(transaction, number)
        self.say("shipping.ShipmentBooked", transaction, command_id(transaction, "shipping", "action", 1, 1))

    def refused(self, transaction: str, number: int, reason: str) -> None:
        """Shipping says no; refund and release are on their way."""
        self.paid(transaction, number)
        asked = command_id(transaction, "shipping", "action", 1, 1)
        self.say("shipping.ShipmentUnavailable", transaction, asked, order_id=str(number), reason=reason)
        self.await_step(transaction, "payment", "compensating")

    def stranded(self, transaction: str) -> None:
        """The bank refuses the refund: a person is needed."""
        self.fail(
            "payment", transaction, command_id(transaction, "payment", "compensation", 1, 1), "no such card"
        )
        self.await_step(transaction, "payment", "incident")

    def refunded(self, transaction: str, round_: int = 1) -> None:
        cause = command_id(transaction, "payment", "compensation", round_, 1)
        self.say("payment.PaymentRefunded", transaction, cause)
        self.await_step(transaction, "stock", "compensating")
        self.say(
            "inventory.StockReleased", transaction, command_id(transaction, "stock", "compensation", 1, 1)
        )

    # -- looking

    def get(self, path: str) -> Any:
        """What the API answers; None: 404."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1{path}", timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code in (404, 503):
                return None
            raise

    def await_step(self, transaction: str, step: str, status: str) -> None:
        def there() -> bool:
            found = self.get(f"/transactions/{transaction}") or {"steps": []}
            return any(s["name"] == step and s["status"] == status for s in found["steps"])

        self.until(there, f"{step} of {transaction} is {status}")

    def await_status(self, transaction: str, status: str) -> None:
        def there() -> bool:
            return ((self.get(f"/transactions/{transaction}?wait=5s")) or {}).get("status") == status

        self.until(there, f"{transaction} is {status}")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self._run is None or self._run.poll() is None, f"kantor run has ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}\n{self.log()}"
            time.sleep(0.1)

    def log(self) -> str:
        return self._log.read_text()[-4_000:]

    def _all_run(self) -> bool:
        found = self.get("/status")
        return bool(found) and all(role["running"] for role in found["roles"]) and len(found["roles"]) == 3

    def _deploy(self) -> None:
        topics.ensure(self.kafka.admin(), 2)
        text = (Path(kantor_examples.checkout.__path__[0]) / "checkout.yaml").read_text()
        changed = text.replace("timeout: 30s", "timeout: 20m").replace("timeout: 10s", "timeout: 20m")
        changed = changed.replace("deadline: 15m", "deadline: 2h").replace(
            "{amount_cents: start.amount_cents}}", "{amount_cents: start.amount_cents}, timeout: 20m}"
        )
        assert changed.count("20m") == 4, changed
        saga = self._folder / "checkout.yaml"
        saga.write_text(changed)

        def deployed() -> None:
            store = schema_store(self.kafka)
            deploy(files.read([saga]).models(), example("checkout"), self.kafka, store)

        patiently(deployed)
