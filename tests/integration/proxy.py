"""A TCP proxy between one role and the broker: it carries bytes, until a test breaks its connections.

What can happen to a connection on a real network, seen from the role:

* :meth:`Proxy.reset`: both sides get RST, as when a firewall or a load balancer forgets it, or the other machine dies.
* :meth:`Proxy.half_close` towards the client: the broker's side ends in good order (FIN); the role may still write.
* :meth:`Proxy.half_close` towards the broker: the broker believes that the role has gone, and the role hears nothing any
  more: no answer, no end. Only a time limit of its own tells it.
* :meth:`Proxy.mute_at`: the connection that a certain request comes by goes mute, the request is lost, and nobody is told.
* :meth:`Proxy.silence`: nothing is carried any more, and nobody is told, for those of the role's clients that a test names.

New connections work as before, at once; but for clients that are silenced.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Literal, Self

_CHUNK = 1 << 16
#: Where the client's id begins in a request of Kafka's; the two bytes before are its length.
_ID = 14
#: Close at once, and let the other side know by RST.
_NO_LINGER = struct.pack("ii", 1, 0)

Side = Literal["client", "broker"]


class _Pair:
    """The two connections that make one."""

    def __init__(
        self,
        client: asyncio.StreamWriter,
        broker: asyncio.StreamWriter,
        is_silenced: Callable[[str, int], bool] = lambda _, __: False,
    ) -> None:
        """``is_silenced`` hears of each request, by its client's id and its kind; True: from here on nothing is carried."""
        self.client = client
        self.broker = broker
        #: Nothing is carried any more; the client has not been told anything.
        self.is_mute = False
        #: As it calls itself in its first request; empty until then.
        self.client_id = ""
        self._is_silenced = is_silenced
        self._begin = b""  # of a request
        self._rest = 0  # bytes until the next one

    def reset(self) -> None:
        for writer in (self.client, self.broker):
            found = writer.get_extra_info("socket")
            with suppress(OSError):  # it may be closed by now
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()

    def half_close(self, towards: Side) -> None:
        self.is_mute = towards == "broker"
        writer = self.broker if towards == "broker" else self.client
        with suppress(OSError, RuntimeError):  # it may be closed by now
            writer.write_eof()

    def _look(self, data: bytes) -> None:
        """A request begins with its size, its kind, three numbers that are no matter here, and the client's id."""
        while data:
            if self._rest:
                data, self._rest = data[self._rest :], max(0, self._rest - len(data))
                continue
            self._begin += data
            id_ends = _ID + int.from_bytes(self._begin[_ID - 2 : _ID], "big")
            if len(self._begin) < max(_ID, id_ends):
                return
            begin, self._begin = self._begin, b""
            self.client_id = begin[_ID:id_ends].decode("latin-1")
            self.is_mute = self.is_mute or self._is_silenced(
                self.client_id, int.from_bytes(begin[4:6], "big")
            )
            data, self._rest = begin, 4 + int.from_bytes(begin[:4], "big")

    async def carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
            if target is self.broker:
                self._look(data)
            if not self.is_mute:
                target.write(data)
                await target.drain()
        if not self.is_mute:
            with suppress(OSError, RuntimeError):
                target.write_eof()


class Proxy:
    """Listens on ``port`` from the moment that it is made; a context manager that leaves nothing behind.

    ``target``: the broker's port on this machine. While nobody listens there, connections are refused by a reset.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._pairs: set[_Pair] = set()
        self._silenced = ""
        self._last_request: tuple[int, threading.Event] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        self.port: int = listening.getsockname()[1]
        self._server = self._loop.run_until_complete(asyncio.start_server(self._accept, sock=listening))
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}")
        self._thread.start()

    def reset(self) -> int:
        """Break every connection that there is now; how many."""
        return self._to_all(_Pair.reset)

    def half_close(self, towards: Side) -> int:
        """End one direction of every connection that there is now; how many."""
        return self._to_all(lambda pair: pair.half_close(towards))

    @contextmanager
    def silence(self, client_id: str) -> Iterator[None]:
        """Within, nothing is carried of clients whose id begins with ``client_id``, on connections that there are and those to
        come. At the end these are reset."""

        def silence(pair: _Pair) -> None:
            pair.is_mute = pair.is_mute or self._is_silenced(pair.client_id, -1)

        self._silenced = client_id
        self._to_all(silence)
        try:
            yield
        finally:
            self._silenced = ""
            self._to_all(lambda pair: pair.reset() if pair.client_id.startswith(client_id) else None)

    def mute_at(self, kind: int) -> threading.Event:
        """The connection by which the next request of this kind comes (its ``api_key``) goes mute before it; set then."""
        came = threading.Event()
        self._last_request = kind, came
        return came

    def _is_silenced(self, client_id: str, kind: int) -> bool:
        if self._last_request is not None and self._last_request[0] == kind:
            self._last_request[1].set()
            self._last_request = None
            return True
        return bool(self._silenced) and client_id.startswith(self._silenced)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _to_all(self, break_: Callable[[_Pair], None]) -> int:
        async def run() -> int:
            pairs = list(self._pairs)
            for pair in pairs:
                break_(pair)
            return len(pairs)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_broker, to_broker = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _Pair(writer, writer).reset()
            return
        pair = _Pair(writer, to_broker, self._is_silenced)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(pair.carry(reader, to_broker))
                both.create_task(pair.carry(from_broker, writer))
        except* OSError:
            pass  # one side has broken: the other is told below
        finally:
            self._pairs.discard(pair)
            pair.reset()
