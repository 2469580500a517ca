"""A small HTTP server for probes and metrics: no framework, two answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

Answer = tuple[int, str, str]
Handler = Callable[[], Answer]


async def serve(port: int, routes: dict[str, Handler]) -> web.AppRunner:
    """Answers GET on each path with (status, content type, body) until the runner is cleaned up."""
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_get(path, _adapt(handler))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, None, port).start()  # the kubelet dials the pod's address, of either family
    return runner


def _adapt(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        status, content_type, body = handler()
        return web.Response(status=status, content_type=content_type, text=body)

    return answer
