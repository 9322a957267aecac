"""A TCP proxy between one role and the broker: it carries bytes, until a test breaks its connections.

What can happen to a connection on a real network, seen from the role:

* :meth:`Proxy.reset`: both sides get RST, as when a firewall or a load balancer forgets it, or the other machine dies.
* :meth:`Proxy.half_close` towards the client: the broker's side ends in good order (FIN); the role may still write.
* :meth:`Proxy.half_close` towards the broker: the broker believes that the role has gone, and the role hears nothing any
  more: no answer, no end. Only a time limit of its own tells it.

New connections work as before, at once.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

_CHUNK = 1 << 16
#: Close at once, and let the other side know by RST.
_NO_LINGER = struct.pack("ii", 1, 0)

Side = Literal["client", "broker"]


class _Pair:
    """The two connections that make one."""

    def __init__(self, client: asyncio.StreamWriter, broker: asyncio.StreamWriter) -> None:
        self.client = client
        self.broker = broker
        #: The broker has been told that the client has gone; the client has not been told anything.
        self.is_mute = False

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

    async def carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
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
        pair = _Pair(writer, to_broker)
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
