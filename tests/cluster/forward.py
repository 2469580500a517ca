"""TCP from the host's loopback into the node, whose network has no route to or from the host.

A socket belongs to the network namespace of the thread that makes it. One thread enters the node's namespace and only
makes sockets; connecting and copying happen in the daemon's event loop.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

_CLONE_NEWNET = 0x40000000
_CHUNK = 256 * 1024  # bytes per read
_CONNECT_TIMEOUT_S = 10


def _enter_network(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot enter the node's network namespace")
    finally:
        os.close(descriptor)


def _make_socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


@dataclass
class Target:
    """Where a forwarded port leads inside the node."""

    host: str
    port: int
    server: asyncio.Server
    local_port: int


class Forwarder:
    """Named forwards; adding a name again changes its target and keeps its local port."""

    def __init__(self, node_pid: int) -> None:
        """`node_pid`: a process inside the node, in the host's numbering."""
        self._threads = ThreadPoolExecutor(1, "dial", _enter_network, (node_pid,))
        self.targets: dict[str, Target] = {}

    async def add(self, name: str, host: str, port: int, local_port: int = 0) -> int:
        """Listen on 127.0.0.1:local_port (0: any free one) and return the port. OSError if it is taken."""
        if name in self.targets:
            self.targets[name].host, self.targets[name].port = host, port
            return self.targets[name].local_port

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(self.targets[name], reader, writer)

        server = await asyncio.start_server(serve, "127.0.0.1", local_port, limit=2 * _CHUNK)
        bound = int(server.sockets[0].getsockname()[1])
        self.targets[name] = Target(host, port, server, bound)
        return bound

    async def _serve(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        inner = await loop.run_in_executor(self._threads, _make_socket)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await loop.sock_connect(inner, (target.host, target.port))
            inner_reader, inner_writer = await asyncio.open_connection(sock=inner, limit=2 * _CHUNK)
        except (OSError, TimeoutError):
            inner.close()
            writer.close()
            return
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        for side in (writer, inner_writer):
            side.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of the stream, then pass the half-close on; a broken side closes the other."""
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (OSError, ConnectionError):
        writer.close()
