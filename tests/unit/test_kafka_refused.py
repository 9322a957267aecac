"""A record that the broker refuses for good is told by a flush, also if several threads flush at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import confluent_kafka as ck
import pytest

from kantor.errors import TooLargeError
from kantor.kafka import Producer

REFUSAL = ck.KafkaError(ck.KafkaError.MSG_SIZE_TOO_LARGE)


class Meanwhile(Producer):
    """Another thread hears of a refusal just when the first flush has looked for one."""

    _kept: Any = None
    _comes = True

    @property
    def _failure(self) -> Any:
        found = self._kept
        if self._comes and hasattr(self, "_producer"):
            self._comes = False
            self._failed(REFUSAL, SimpleNamespace(topic=lambda: "t"))
        return found

    @_failure.setter
    def _failure(self, failure: Any) -> None:
        self._kept = failure


def test_a_refusal_that_comes_while_a_flush_ends_is_told_by_the_next() -> None:
    """It was forgotten, where threads run at the same time (a Python without the interpreter's lock): its position would be committed."""
    producer = Meanwhile("test", {"bootstrap.servers": "127.0.0.1:1"})
    producer.flush(0.1)
    with pytest.raises(TooLargeError):
        producer.flush(0.1)
    producer.flush(0.1)
