"""A TCP proxy that breaks the network the ways networks break, between a part and Redis, or between
users and the web tier.

It forwards bytes and looks into requests only to find those whose reply is to be lost. All proxies
run on one event loop in a thread of its own; any thread may call their switches.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any

HOST = "127.0.0.1"
PIECE = 65536  # bytes read at once
REFUSAL = b"-NOPERM refused by the proxy, after it was done\r\n"  # Redis's form of an error
# What a request holds whose reply may be lost: one that changes something.
SCRIPT = b"EVALSHA"  # to Redis; all else there is Celery's
POST = b"POST "  # to the web tier


class Network:
    """The event loop that all proxies run on."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._proxies: list[Proxy] = []

    def start(self) -> None:
        self._thread.start()

    def proxy(self, target: int, marker: bytes) -> Proxy:
        """A proxy in front of a loopback port, listening; only replies to requests with `marker`
        are ever lost."""
        proxy = Proxy(target, marker)
        self._call(proxy.listen())
        self._proxies.append(proxy)
        return proxy

    def stop(self) -> None:
        self._call(self._end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end_all(self) -> None:
        for proxy in self._proxies:
            proxy.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _call(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(10)


class Proxy:
    """Forwards connections. `dropped` counts the replies it lost on purpose."""

    def __init__(self, target: int, marker: bytes):
        self.port = 0
        self.dropped = 0
        self._target = target
        self._marker = marker
        self._to_drop = 0
        self._to_refuse = 0
        self._links: set[_Link] = set()
        self.holding = False

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Take no new connections."""
        self._server.close()

    def drop_replies(self, count: int) -> None:
        """The next `count` marked requests are carried out; their answers and connections are
        lost."""
        self._to_drop += count

    def refuse_replies(self, count: int) -> None:
        """The next `count` marked requests are carried out and answered with an error, as if the
        right to them was lacking; then their connections end."""
        self._to_refuse += count

    def hold(self) -> None:
        """A black hole until `resume`: connections stay open and new ones are taken, but nothing
        passes either way, and nothing ever will on any of these, as when a router forgot them. Only
        connections made afterwards work."""
        self.holding = True
        for link in list(self._links):
            link.dead = True

    def resume(self) -> None:
        self.holding = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, reader, writer)
        self._links.add(link)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await link.run(self._target)
        self._links.discard(link)
        writer.close()

    def take_drop(self, request: bytes) -> bool:
        """Whether the reply to this request is to be lost; if so, that is one fewer."""
        if self._to_drop < 1 or self._marker not in request:
            return False
        self._to_drop -= 1
        self.dropped += 1
        return True

    def take_refusal(self, request: bytes) -> bool:
        """Whether this request is to be answered with an error; if so, that is one fewer."""
        if self._to_refuse < 1 or self._marker not in request:
            return False
        self._to_refuse -= 1
        return True


class _Link:
    """One connection and its counterpart to the server."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._drop = self._refuse = False
        self.dead = proxy.holding  # whatever comes vanishes

    async def run(self, target: int) -> None:
        """Until either side, or a lost reply, ends it."""
        reader, writer = await asyncio.open_connection(HOST, target)
        ways = [
            asyncio.ensure_future(way) for way in (self._requests(writer), self._replies(reader))
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()

    async def _requests(self, server: asyncio.StreamWriter) -> None:
        while piece := await self._reader.read(PIECE):
            if self.dead:
                continue
            self._drop = self._proxy.take_drop(piece) or self._drop
            self._refuse = self._proxy.take_refusal(piece) or self._refuse
            server.write(piece)
            await server.drain()

    async def _replies(self, server: asyncio.StreamReader) -> None:
        while piece := await server.read(PIECE):
            if self._drop:
                return
            if self.dead:
                continue
            self._writer.write(REFUSAL if self._refuse else piece)
            await self._writer.drain()
            if self._refuse:
                return
