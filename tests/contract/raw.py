"""One record as Kafka's protocol writes it: what our client would refuse to write, others do.

Sources: Kafka protocol guide, "Record batch" and Produce API version 3.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence


def produce(servers: str, topic: str, headers: Sequence[tuple[bytes, bytes]], value: bytes) -> None:
    """Write one record to partition 0, whose leader is the first of ``servers``."""
    host, _, port = servers.partition(",")[0].rpartition(":")
    batch = _batch(headers, value)
    request = struct.pack(">hhi", 0, 3, 1) + _text(b"contract")
    request += struct.pack(">hhi", -1, -1, 5_000)  # no transactional id, acks of all, ms
    request += struct.pack(">i", 1) + _text(topic.encode()) + struct.pack(">iii", 1, 0, len(batch)) + batch
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.makefile("rb")
        (size,) = struct.unpack(">i", answer.read(4))
        body = answer.read(size)
    (error,) = struct.unpack_from(">h", body, 4 + 4 + 2 + len(topic) + 4 + 4)
    assert error == 0, f"the broker refused the record: error {error}"


def _batch(headers: Sequence[tuple[bytes, bytes]], value: bytes) -> bytes:
    record = b"\0" + _varint(0) + _varint(0) + _varint(1) + b"k" + _varint(len(value)) + value
    record += _varint(len(headers))
    for name, content in headers:
        record += _varint(len(name)) + name + _varint(len(content)) + content
    now = int(time.time() * 1000)
    after = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + _varint(len(record)) + record
    body = struct.pack(">iBI", -1, 2, _crc32c(after)) + after
    return struct.pack(">qi", 0, len(body)) + body


def _text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value


def _varint(number: int) -> bytes:
    found, left = b"", number << 1  # zigzag of what is not negative
    while left > 127:
        found += bytes([left & 127 | 128])
        left >>= 7
    return found + bytes([left])


def _crc32c(data: bytes) -> int:
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F6_3B78 & -(crc & 1))
    return crc ^ 0xFFFF_FFFF
