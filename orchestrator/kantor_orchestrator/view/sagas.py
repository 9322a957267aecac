"""What the view must know of a saga: who owns its steps, and by which fields people search."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from kantor.codec import Codec
from kantor.kafka import KafkaSettings
from kantor_orchestrator.core.saga import Saga
from kantor_orchestrator.definitions.catalogue import Definitions, DefinitionsTopic

log = logging.getLogger("kantor.view")

#: Characters of a key's value that are searched by.
KEY_LENGTH = 200
#: Seconds between looks for a definition that is not there: a look holds the projection up.
_AGAIN = 5.0


@dataclass(frozen=True, slots=True)
class StepFacts:
    kind: str
    owner: str
    compensator: str  # the service that confirms its compensation
    after: tuple[str, ...]
    pivot: bool = False
    asks: bool = False  # its service can be asked whether it happened


#: Of a step that no definition known here has.
NO_STEP = StepFacts("", "", "", ())


@dataclass(frozen=True, slots=True)
class SagaFacts:
    """One version of a saga. ``steps`` by path, in topological order."""

    saga: str
    version: int
    keys: tuple[str, ...] = ()
    steps: dict[str, StepFacts] = field(default_factory=dict)

    @classmethod
    def of(cls, saga: Saga) -> SagaFacts:
        steps = {
            path: StepFacts(
                step.kind,
                step.owner,
                step.compensation.command.type.rpartition(".")[0] if step.compensation else "",
                step.after,
                step.pivot,
                step.ask is not None,
            )
            for path, step in saga.steps.items()
        }
        return cls(saga.name, saga.version, saga.keys, steps)

    def dump(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def load(cls, text: str) -> SagaFacts:
        found = json.loads(text)
        steps = {
            path: StepFacts(**step | {"after": tuple(step["after"])}) for path, step in found["steps"].items()
        }
        return cls(found["saga"], found["version"], tuple(found["keys"]), steps)


def keys_in(captured: Mapping[str, Any], names: Iterable[str]) -> list[tuple[str, str]]:
    """Names and values, among captured fields, that people search by."""
    return [(name, str(captured[name])[:KEY_LENGTH]) for name in names if captured.get(name) is not None]


class Sagas(Protocol):
    """Finds a saga's version; None if there is no such definition."""

    def get(self, saga: str, version: int) -> SagaFacts | None: ...


class DeployedSagas:
    """Sagas as ``kantor deploy`` put them into their topic, which is read when an unknown one is asked for."""

    def __init__(
        self, settings: KafkaSettings, codec: Codec, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._clock = clock
        self._definitions = Definitions()
        self._next_look = float("-inf")

    def get(self, saga: str, version: int) -> SagaFacts | None:
        """Raises ``KafkaUnavailableError`` or ``RegistryUnavailableError`` while the definitions can't be read."""
        found = self._definitions.saga(saga, version)
        if found is None and self._clock() >= self._next_look:
            # It was in the topic before the first transaction of it: whoever reads to the end knows for certain.
            self._read()
            found = self._definitions.saga(saga, version)
            if found is None:
                self._next_look = self._clock() + _AGAIN
                log.warning(
                    "no definition of %s version %d: its transactions have no owners and no keys",
                    saga,
                    version,
                    extra={"action": "definition_missing"},
                )
        return SagaFacts.of(found) if found else None

    def _read(self) -> None:
        topic = DefinitionsTopic(self._settings, self._codec, "kantor-view-definitions")
        try:
            self._definitions = topic.load()
        finally:
            topic.close()
