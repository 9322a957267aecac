"""What a producer takes for delivered is in the log: also if its partition gets a leader between two of its requests.

A broker that knows nothing of a producer yet accepts its batch with whatever sequence number it bears. librdkafka takes the success
of one request for that of the ones before it ("implicitly acked"), although the broker refused these as it did not lead yet.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from kantor.kafka import KafkaSettings, Producer
from waiting import PATIENCE, until

TOPIC = b"evt.x.v1"
PRODUCE, FETCH, METADATA, VERSIONS, PRODUCER_ID = 0, 1, 3, 18, 22
NOT_LEADER, OUT_OF_ORDER = 6, 45
#: Seconds in which a client that has two requests in flight has sent the second.
_SOON = 0.5


class LateLeader:
    """One partition of one broker, which begins to lead it behind the first request of those that are there."""

    def __init__(self) -> None:
        self.log: list[int] = []  # what it has: sequence numbers
        self.asked = threading.Event()  # the first request is there
        self._leads = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, EOFError), connection:
            while True:
                request = _read(connection)
                if struct.unpack_from(">h", request)[0] == PRODUCE and not self._leads:
                    self._refuse_first(connection, request)
                else:
                    self._answer(connection, request)

    def _refuse_first(self, connection: socket.socket, request: bytes) -> None:
        self.asked.set()
        connection.settimeout(_SOON)
        try:
            following = _read(connection)
        except TimeoutError:
            following = b""
        connection.settimeout(None)
        _send(connection, request, _produced(NOT_LEADER, -1))
        self._leads = True
        if following:
            self._answer(connection, following)

    def _answer(self, connection: socket.socket, request: bytes) -> None:
        key, version = struct.unpack_from(">hh", request)
        if key == VERSIONS:
            known = ((PRODUCE, 3), (FETCH, 4), (METADATA, 1), (VERSIONS, 0), (PRODUCER_ID, 0))
            table = b"".join(struct.pack(">hhh", api, 0, most) for api, most in known)
            body = struct.pack(">hi", 35 if version else 0, len(known)) + table
        elif key == METADATA:
            host = _text(b"127.0.0.1")
            body = struct.pack(">ii", 1, 1) + host + struct.pack(">ihi", self.port, -1, 1)
            body += struct.pack(">ih", 1, 0) + _text(TOPIC) + struct.pack(">bi", 0, 1)
            body += struct.pack(">hiiiiii", 0, 0, 1, 1, 1, 1, 1)
        elif key == PRODUCER_ID:
            body = struct.pack(">ihqh", 0, 0, 7, 0)
        else:
            batch = request.index(TOPIC) + len(TOPIC) + 12
            first, count = struct.unpack_from(">ii", request, batch + 53)
            accepts = (
                not self.log or first == self.log[-1] + 1
            )  # of a producer that it does not know: anything
            if accepts:
                self.log += range(first, first + count)
            body = _produced(0 if accepts else OUT_OF_ORDER, len(self.log) - count)
        _send(connection, request, body)


def _read(connection: socket.socket) -> bytes:
    def exactly(count: int) -> bytes:
        found = b""
        while len(found) < count:
            found += (more := connection.recv(count - len(found)))
            if not more:
                raise EOFError
        return found

    return exactly(struct.unpack(">i", exactly(4))[0])


def _send(connection: socket.socket, request: bytes, body: bytes) -> None:
    answer = request[4:8] + body  # its correlation id
    connection.sendall(struct.pack(">i", len(answer)) + answer)


def _produced(error: int, offset: int) -> bytes:
    return (
        struct.pack(">i", 1)
        + _text(TOPIC)
        + struct.pack(">iihqq", 1, 0, error, offset, -1)
        + struct.pack(">i", 0)
    )


def _text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value


@pytest.fixture
def broker() -> Iterator[LateLeader]:
    broker = LateLeader()
    yield broker
    broker.close()


@pytest.mark.parametrize("linger", [0, 5])
def test_a_record_that_was_refused_is_not_taken_for_delivered(broker: LateLeader, linger: int) -> None:
    """It is sent again, before those that came after it. An order was lost so, and its service was told that it was sent."""
    producer: Producer = KafkaSettings(f"127.0.0.1:{broker.port}").producer("test", linger_ms=linger)
    producer.produce(TOPIC.decode(), b"first", b"k", None, 0)
    assert broker.asked.wait(PATIENCE)
    producer.produce(TOPIC.decode(), b"second", b"k", None, 0)
    until(lambda: _is_flushed(producer), "all is delivered")
    assert broker.log == [0, 1]


def _is_flushed(producer: Producer) -> bool:
    producer.flush(PATIENCE)
    return True
