"""Log lines and requests of one reconcile lead to each other."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from kubernetes.aio.client import Configuration

from gemma_operator.api.manifest import ObjectKey
from gemma_operator.controller.logs import handler_for
from gemma_operator.kube.apiserver import ApiServer, Request
from gemma_operator.kube.trace import traced

KEY = ObjectKey("serving.gemma-operator.dev", "GemmaDeployment", "chat", "assistant")
OTHER = ObjectKey("serving.gemma-operator.dev", "GemmaDeployment", "chat", "other")
PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-00")


@contextmanager
def lines() -> Iterator[list[dict[str, Any]]]:
    """What is logged inside, line by line."""
    stream, found = io.StringIO(), []
    handler = handler_for("json")
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    logger = logging.getLogger("gemma_operator.test")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        found += [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_which_reconcile_it_is_about() -> None:
    with lines() as found, traced(KEY):
        logging.getLogger("gemma_operator.test").warning("%s is wrong", "something")
    [line] = found
    assert (line["severity"], line["message"], line["gemmadeployment"]) == (
        "WARNING",
        "something is wrong",
        "chat/assistant",
    )
    assert re.fullmatch(r"[0-9a-f]{32}", line["trace_id"])


def test_a_line_outside_a_reconcile_has_only_the_common_fields() -> None:
    with lines() as found:
        logging.getLogger("gemma_operator.test").info("ready")
    assert found[0].keys() == {"time", "severity", "logger", "message"}


def test_an_exception_stays_on_its_line() -> None:
    with lines() as found:
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            logging.getLogger("gemma_operator.test").exception("a defect")
    assert "ZeroDivisionError" in found[0]["exception"]


def test_requests_of_one_reconcile_share_its_trace_and_those_beside_it_do_not() -> None:
    parents: dict[str, list[str]] = {}

    async def answer(request: web.Request) -> web.Response:
        parents.setdefault(request.path, []).append(request.headers.get("traceparent", ""))
        return web.json_response({})

    async def reconcile(api: ApiServer, key: ObjectKey) -> None:
        with traced(key):
            for _ in range(2):
                await api.send(Request("GET", f"/api/v1/namespaces/chat/pods/{key.name}"))

    async def body() -> None:
        application = web.Application()
        application.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        api = ApiServer(Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}"), lambda *_: None)
        await asyncio.gather(reconcile(api, KEY), reconcile(api, OTHER))
        await api.send(Request("GET", "/version"))
        await api.close()
        await runner.cleanup()

    asyncio.run(body())
    found = {
        path: [PARENT.fullmatch(text) for text in texts]
        for path, texts in parents.items()
        if path != "/version"
    }
    assert parents["/version"] == [""]
    assert [len(each) for each in found.values()] == [2, 2]
    traces = {path: {match[1] for match in each if match} for path, each in found.items()}
    assert all(len(each) == 1 for each in traces.values())
    assert len(set.union(*traces.values())) == 2
    assert len({match[2] for each in found.values() for match in each if match}) == 4
