"""librdkafka's answers as ours: its errors are translated here, once, and its calls have limits of ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import confluent_kafka as ck

from kantor.errors import ConfigError, FencedError, KafkaUnavailableError, StuckError, TooLargeError

T = TypeVar("T")

#: Seconds beyond its own timeout after which a call is taken for stuck: far more than librdkafka is late when it keeps it.
GRACE = 5.0
#: Seconds for a call that takes no timeout: leaving a group, committing positions.
PATIENCE = 15.0

#: What a partition answers while it has no leader, or one that moved or came back just now (KIP-207, KIP-320); and for a group,
#: while it has no coordinator.
_LEADERLESS = {
    ck.KafkaError.NOT_LEADER_FOR_PARTITION,
    ck.KafkaError.LEADER_NOT_AVAILABLE,
    ck.KafkaError.FENCED_LEADER_EPOCH,
    ck.KafkaError.UNKNOWN_LEADER_EPOCH,
    ck.KafkaError.OFFSET_NOT_AVAILABLE,
    ck.KafkaError.NOT_COORDINATOR,
    ck.KafkaError.COORDINATOR_NOT_AVAILABLE,
    ck.KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
FENCED = {ck.KafkaError._FENCED, ck.KafkaError.PRODUCER_FENCED, ck.KafkaError.INVALID_PRODUCER_EPOCH}


def made(client: Callable[[dict[str, Any]], T], config: dict[str, Any]) -> T:
    """Raises ``ConfigError`` for settings that librdkafka does not take."""
    try:
        return client(config)
    except ck.KafkaException as error:
        reason = error.args[0].str() if isinstance(error.args[0], ck.KafkaError) else str(error)
        raise ConfigError(f"{reason}; settings come from KANTOR_KAFKA_*, and from Kantor itself") from error


def led(ask: Callable[[], T], timeout: float) -> T:
    """What the leader of a partition answers; asked again while there is none: the topic was just made, or it moves."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return ask()
        except ck.KafkaException as error:
            if error.args[0].code() not in _LEADERLESS or time.monotonic() > deadline:
                translate(error)
        time.sleep(0.05)


def answer(future: Any, timeout: float) -> Any:
    """What the broker answered to an admin request, which has this timeout of its own."""
    try:
        return future.result(timeout + GRACE)
    except TimeoutError:
        raise StuckError(f"an admin request did not return within {timeout + GRACE:g} s") from None


def translate(error: ck.KafkaException) -> NoReturn:
    """librdkafka's error as one of ours (once, here, at the edge)."""
    cause = error.args[0]
    if cause.code() in FENCED:
        raise FencedError(str(cause)) from error
    if cause.code() == ck.KafkaError.MSG_SIZE_TOO_LARGE:
        raise TooLargeError(f"record too large: {cause.str()}") from error
    raise KafkaUnavailableError(f"{cause.name()}: {cause.str()}") from error
