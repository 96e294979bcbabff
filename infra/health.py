"""Is the service alive, is it ready, and the port that says so.

In: the running parts. Out: `/live`, `/ready` (503 with the reasons) and `/metrics`.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from consumers.kafka import QueryConsumer
from engine.generation import Model
from infra.settings import Settings, SettingsError
from producers.kafka import EventProducer

_BROKER_SILENT_S = 12.0


class Health:
    """What is known of the parts; before `watch` the service is starting."""

    def __init__(self, stall_limit: float) -> None:
        self._stall_limit = stall_limit
        self._parts: tuple[QueryConsumer, EventProducer, Model] | None = None

    def watch(self, consumer: QueryConsumer, producer: EventProducer, model: Model) -> None:
        self._parts = consumer, producer, model

    def problems(self, now: float) -> list[str]:
        """Why the service is not ready; empty if it is."""
        if self._parts is None:
            return ["starting"]
        consumer, producer, model = self._parts
        found = []
        if not consumer.assigned:
            found.append("no partitions assigned yet")
        elif consumer.partitions and now - consumer.watermarks.answered_at > _BROKER_SILENT_S:
            found.append(
                f"Kafka has not answered for {now - consumer.watermarks.answered_at:.0f} s"
            )
        if (frozen := consumer.frozen_for(now)) > self._stall_limit:
            found.append(f"a watermark has stood still for {frozen:.0f} s with queries open")
        if (refused := producer.refused_for) > 0:
            found.append(f"Kafka has refused events for {refused:.1f} s")
        if not getattr(model, "healthy", True):
            found.append("the engine is down")
        return found

    def hopeless(self) -> str | None:
        """Why the process had better be started anew."""
        model = self._parts[2] if self._parts else None
        hopeless = getattr(model, "hopeless", False)
        return "the engine stalled too often; start the process anew" if hopeless else None


@asynccontextmanager
async def listening(settings: Settings, health: Health) -> AsyncIterator[None]:
    """The HTTP port, if settings name one. Raises `SettingsError` if it is taken."""
    if settings.http_port is None:
        yield
        return
    runner = web.AppRunner(_application(health), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.http_host, settings.http_port).start()
    except OSError as error:
        await runner.cleanup()
        raise SettingsError(
            f"http_port: cannot listen on {settings.http_host}:{settings.http_port}: "
            f"{error.strerror}; choose another port"
        ) from None
    try:
        yield
    finally:
        await runner.cleanup()


def _application(health: Health) -> web.Application:
    async def live(_: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def ready(_: web.Request) -> web.Response:
        problems = health.problems(time.monotonic())
        return web.json_response(
            {"ready": not problems, "problems": problems}, status=503 if problems else 200
        )

    async def figures(_: web.Request) -> web.Response:
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/live", live)
    application.router.add_get("/ready", ready)
    application.router.add_get("/metrics", figures)
    return application
