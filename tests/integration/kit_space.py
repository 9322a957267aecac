"""Services of the kit as processes, on topics of their own: what the kit's integration tests share."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from integration import kit_service
from kantor import KafkaSettings, Service
from kantor.clients import BEGINNING, Partition
from kantor.envelope import Envelope, read
from waiting import PATIENCE, patiently, until

PROGRAM = Path(kit_service.__file__)
MODES = ["plain", "store", "transactional"]


class Space:
    """Topics of one test's own, and the payment service's processes in it."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.settings = KafkaSettings(bootstrap)
        self.folder = folder
        self.database = folder / "payment.db"
        self.calls = folder / "calls"
        self.reserved, self.captured, self.declined = kit_service.moved_types(self.name)
        self.service = f"payment-{self.name}"
        self._started: list[subprocess.Popen[bytes]] = []
        self._is_transactional = False

    def start(self, mode: str, *, pause: float = 0.0) -> subprocess.Popen[bytes]:
        """A process of the service, ready. ``mode``: plain, store or transactional."""
        self._is_transactional = mode == "transactional"
        log = self.folder / f"log{len(self._started)}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KANTOR_")}
        environment |= {
            "KANTOR_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "KIT_PAUSE": str(pause),
            "KIT_CALLS": str(self.calls),
        }
        command = [sys.executable, str(PROGRAM), self.name, mode, str(self.database)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environment, stderr=output, stdout=output)
        self._started.append(process)

        def is_ready() -> bool:
            assert process.poll() is None, f"it ended with {process.returncode}:\n{log.read_text()}"
            return b"action=ready" in log.read_bytes()

        until(is_ready, "the service is ready", self.logs, pause=0.02)
        return process

    def log(self, number: int = 0) -> str:
        return (self.folder / f"log{number}").read_text()

    def logs(self) -> str:
        """The end of each process's log."""
        return "\n".join(f"--- log{n}\n{self.log(n)[-10_000:]}" for n in range(len(self._started)))

    def publish(self, count: int, first: int = 0, **fields: Any) -> None:
        """Orders o<first>, ..., each in a transaction of that name."""
        values = {"customer_id": "c", "sku": "s", "quantity": 1, "amount_cents": 5, **fields}
        with Service("inventory").publisher(self.settings) as publish:
            for number in range(first, first + count):
                order = f"o{number}"
                publish(self.reserved(order_id=order, **values), transaction_id=order)

    def handled(self) -> None:
        """Until the service has committed its position behind everything that was published: no more answers come."""
        admin, topic = self.settings.admin(), self.reserved.TOPIC
        places = [(topic, partition) for partition in range(admin.topics()[topic])]
        ends = patiently(lambda: admin.ends(places))
        behind: dict[Partition, tuple[int, int]] = {}

        def all_is() -> bool:
            found = admin.group_offsets(self.service)
            behind.clear()
            behind.update({p: (found.get(p, 0), end) for p, end in ends.items() if found.get(p, 0) < end})
            return not behind

        until(
            all_is, f"{self.service} has handled everything", lambda: f"{behind}\n{self.logs()}", pause=0.02
        )

    def read(self, topic: str, count: int, kinds: Callable[[Any], object] = id) -> list[Any]:
        """All records of a topic that a read_committed consumer sees, once there are ``count``, of so many ``kinds``. What a
        Kafka transaction that is open now has written is waited for."""
        admin = self.settings.admin()
        places = [(topic, partition) for partition in range(admin.topics()[topic])]
        ends = patiently(lambda: admin.ends(places))
        positions = dict.fromkeys(places, BEGINNING)
        consumer = self.settings.consumer("test", ends=True)
        found: list[Any] = []

        def is_read() -> bool:
            batch = consumer.poll(0.1, 5_000)
            found.extend(batch.records)
            positions.update({(r.topic(), r.partition()): r.offset() + 1 for r in batch.records})
            positions.update(batch.ends)
            at_end = all(positions[p] >= end for p, end in ends.items())
            return at_end and len(found) >= count and len({kinds(record) for record in found}) >= count

        def explain() -> str:
            return f"{len(found)} records, {positions} of {ends}\n{self.logs()}"

        try:
            consumer.assign(positions)
            until(is_read, f"{topic} has {count} records", explain, pause=0)
        finally:
            consumer.close()
        return found

    def answers(self, count: int) -> list[Envelope]:
        """The envelopes of the answers, once ``count`` transactions have one. There will be no more of a transactional
        service, nor after :meth:`handled`."""
        if self._is_transactional:
            self.handled()
        found = self.read(self.captured.TOPIC, count, lambda record: record.key())
        return [read(record.headers()) for record in found]

    def wait_for(self, answers: int) -> None:
        """Until there are more records of answers than these, committed or not."""
        admin, topic = self.settings.admin(), self.captured.TOPIC
        partitions = [(topic, partition) for partition in range(admin.topics()[topic])]
        until(
            lambda: sum(admin.ends(partitions).values()) > answers,
            f"more than {answers} answers",
            self.logs,
            pause=0.02,
        )

    def effects(self) -> Counter[str]:
        with sqlite3.connect(self.database) as connection:
            rows = connection.execute("SELECT order_id FROM effects").fetchall()
        connection.close()
        return Counter(order for (order,) in rows)

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE)


def orders(count: int) -> Counter[str]:
    """Each of these once."""
    return Counter({f"o{number}": 1 for number in range(count)})
