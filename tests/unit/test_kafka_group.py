"""A broker that keeps a member out of its group: a person must act, so it is said by name and not passed over."""

from __future__ import annotations

import confluent_kafka as ck
import pytest

from kantor.errors import KafkaUnavailableError
from kantor.kafka import KafkaSettings


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (
            ck.KafkaError.INCONSISTENT_GROUP_PROTOCOL,
            "kafka-consumer-groups.sh --describe --members --group g-1",
        ),
        (ck.KafkaError.GROUP_AUTHORIZATION_FAILED, "READ on the group g-1"),
        (ck.KafkaError.GROUP_MAX_SIZE_REACHED, "group.max.size"),
    ],
)
def test_who_is_kept_out_of_its_group_says_so_with_the_remedy(code: int, remedy: str) -> None:
    """Before, it was `temporary`: the process read nothing for ever, and was ready."""
    consumer = KafkaSettings("127.0.0.1:1").consumer("kantor-c", group="g-1")
    try:
        with pytest.raises(KafkaUnavailableError, match=r"out of the group g-1") as raised:
            consumer._on_error(ck.KafkaError(code))
        assert remedy in str(raised.value)
    finally:
        consumer.close()


def test_what_passes_by_itself_is_passed_over() -> None:
    """A broker that is away for a moment is no reason to begin again."""
    consumer = KafkaSettings("127.0.0.1:1").consumer("kantor-c", group="g-1")
    try:
        consumer._on_error(ck.KafkaError(ck.KafkaError._TRANSPORT))
    finally:
        consumer.close()
