"""A record, as the view reads it."""

from __future__ import annotations


class Written:
    """A record, as the consumer would hand it over."""

    __slots__ = ("_headers", "_key", "_offset", "_partition", "_time", "_topic", "_value")

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes | None]],
        time: int,
    ) -> None:
        self._topic, self._partition, self._offset, self._time = topic, partition, offset, time
        self._key, self._value, self._headers = key, value, headers

    def move_to(self, topic: str) -> None:
        self._topic = topic

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return 2, self._time
