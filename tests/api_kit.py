"""The real application over a real view, with nothing of Kafka: what people did is noted, messages lie in a dict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kantor.errors import KafkaUnavailableError, NotFoundError
from kantor.kafka import KafkaSettings
from kantor_orchestrator.api.backend import Backend
from kantor_orchestrator.api.config import ApiSettings
from kantor_orchestrator.api.payloads import GoneError, Payload
from kantor_orchestrator.api.people import Person
from kantor_orchestrator.api.tokens import new_token
from kantor_orchestrator.config import Settings
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions import files
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.operations.acts import Move
from kantor_orchestrator.operations.condition import Condition
from kantor_orchestrator.view.database import Location
from kantor_orchestrator.view.reader import NoViewError
from kantor_schemas import example
from view_traffic import Traffic, project

CHECKOUT_FILE = Path(__file__).parents[1] / "services" / "kantor_examples" / "checkout" / "checkout.yaml"


def definitions(*, personal: Iterable[str] = ()) -> Definitions:
    """The checkout example, deployed. ``personal``: fields that are tagged in its schemas."""
    (model,) = files.read([CHECKOUT_FILE]).models()
    tagged = set(personal)
    schemas = {}
    for type_, schema in example("checkout").items():
        fields = [
            field | ({"confluent:tags": ["PII"]} if field["name"] in tagged else {})
            for field in schema["fields"]
        ]
        schemas[type_] = {**schema, "fields": fields}
    return Definitions([bundles.bundle(model.model, schemas, 1_790_000_000_000)])


class StoredBackend(Backend):
    """``acted``: what was done, with whom, in order. ``answers``: by transaction what the engine makes of it (default: it
    goes on). ``unknown``: transactions that the engine does not know. ``stored``: messages by place. ``place``: of the
    view, a file in ``folder`` unless it is said."""

    def __init__(
        self, folder: Path, deployed: Definitions | None = None, place: Location | None = None
    ) -> None:
        place = place or folder / "view.db"
        url = place if isinstance(place, str) else f"sqlite:///{place}"
        super().__init__(Settings(KafkaSettings("127.0.0.1:1"), folder, url))
        self.deployed = deployed
        self.acted: list[tuple[str, str, str, str, str]] = []
        self.answers: dict[str, Move] = {}
        self.unknown: set[str] = set()
        self.stored: dict[str, Payload] = {}
        self.payloads = _StoredPayloads(self)  # type: ignore[assignment]

    def definitions(self) -> Definitions:
        if self.deployed is None:
            raise KafkaUnavailableError("Kafka does not answer")
        return self.deployed

    def condition(self) -> Condition:
        """Nobody is asked."""
        with suppress(NoViewError), self.view() as view:
            return Condition("127.0.0.1:1", counts=view.counts(), incident_count=view.incident_count())
        return Condition("127.0.0.1:1", broker_error="it is not there")

    def act(
        self,
        act: str,
        transaction_id: str,
        *,
        actor: str,
        why: str,
        step: str,
        fields: Mapping[str, Any],
        key: str,
    ) -> list[Move]:
        done = self._done(transaction_id, key, act, step, fields)
        if done:
            return done
        if transaction_id in self.unknown:
            raise NotFoundError(f"there is no transaction {transaction_id}")
        self.acted.append((act, transaction_id, actor, why, key))
        return [self.answers.get(transaction_id, move("resumed", step=step))]

    def act_on_many(
        self, act: str, ids: Iterable[str], *, actor: str, why: str, key: str
    ) -> dict[str, list[Move]]:
        found = list(ids)
        self.acted += [(act, id_, actor, why, key) for id_ in found]
        return {id_: [self.answers.get(id_, move("resumed"))] for id_ in found}

    def act_on_saga(self, act: str, saga: str, *, actor: str, why: str, key: str) -> list[Move]:
        self.acted.append((act, saga, actor, why, key))
        return [move("held")]


class _StoredPayloads:
    def __init__(self, backend: StoredBackend) -> None:
        self._backend = backend

    def read(self, place: str, id_: str = "") -> Payload:
        if place not in self._backend.stored:
            raise GoneError(f"{place} is no longer kept")
        return self._backend.stored[place]

    def close(self) -> None:
        pass


def move(kind: str, *, step: str = "", reason: str = "") -> Move:
    return {"kind": kind, "step": step, "status": "running", "code": "", "reason": reason}


def people() -> tuple[ApiSettings, dict[str, str]]:
    """Settings with a viewer, an operator and an admin; their tokens by role."""
    tokens, known = {}, {}
    for role in ("viewer", "operator", "admin"):
        tokens[role], line = new_token(f"{role}@example", role)
        known[line.rpartition(":")[2]] = Person(f"{role}@example", role)
    return ApiSettings(tokens=known), tokens


def checkouts(place: Location, extra: int = 0) -> Traffic:
    """One completed, one compensated, one that is stuck in its retries, one that waits for stock, one observed; ``extra``
    more that wait for stock."""
    traffic = Traffic()
    traffic.completed("tx-completed", 1041)
    traffic.compensated("tx-compensated", 1042)
    traffic.stuck("tx-stuck", 1043)
    traffic.order("tx-running", 1044)
    traffic.event("tx-observed", "crm.LeadCreated")
    for number in range(extra):
        traffic.order(f"tx-more-{number}", 2_000 + number)
    project(traffic, place)
    return traffic


__all__ = ["StoredBackend", "checkouts", "definitions", "move", "people"]
