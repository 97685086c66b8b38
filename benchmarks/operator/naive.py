"""The control: an operator as tutorials write them. Handlers of changes, a GET for each child, then a write.

It makes the same children from the same plan, so that only the manner differs.
"""

import asyncio
import sys
from typing import Any

import kopf
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest

from gemma_operator.api.base import GROUP, PLURAL, VERSION
from gemma_operator.api.manifest import Manifest, owner_of
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.catalog import load_catalog
from gemma_operator.controller.basis import Basis
from gemma_operator.kube.apiserver import APPLY_PATCH, ApiServer, Request
from gemma_operator.kube.errors import NotFoundError
from gemma_operator.kube.kinds import kind_of
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.desired import desired_objects
from gemma_operator.settings import OperatorSettings

REGISTRY = CollectorRegistry()
HANDLED = Counter("naive_handled", "Handlers that ended.", registry=REGISTRY)


async def write_child(api: ApiServer, manifest: Manifest) -> None:
    """Look, then create or apply."""
    kind, metadata = kind_of(manifest), manifest["metadata"]
    path = kind.path(metadata["namespace"], metadata["name"])
    try:
        await api.send(Request("GET", path))
    except NotFoundError:
        await api.send(Request("POST", kind.path(metadata["namespace"]), {"fieldManager": "naive"}, manifest))
    else:
        await api.send(
            Request("PATCH", path, {"fieldManager": "naive", "force": "true"}, manifest, APPLY_PATCH)
        )


async def main(namespace: str) -> None:
    """Run until told to stop."""
    api = await ApiServer.connect(lambda request, code: None)
    basis = Basis(OperatorSettings(), load_catalog())
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        found = await api.credentials()
        return kopf.ConnectionInfo(server=found.server, ca_path=found.ca_file, token=found.token)

    @kopf.on.create(GROUP, VERSION, PLURAL, registry=registry)
    @kopf.on.update(GROUP, VERSION, PLURAL, registry=registry)
    @kopf.on.resume(GROUP, VERSION, PLURAL, registry=registry)
    async def bring_about(body: kopf.Body, patch: kopf.Patch, **_: Any) -> None:
        spec = GemmaDeploymentSpec.model_validate(dict(body["spec"]))
        owner = owner_of(dict(body))
        plan = basis.plan(spec, ())
        assert isinstance(plan, Plan)
        for manifest in desired_objects(owner, spec, plan, basis.settings):
            await write_child(api, manifest)
        patch.status["observedGeneration"] = owner.generation
        HANDLED.inc()

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"probes on port 0, metrics on port {runner.addresses[0][1]}", flush=True)
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    await kopf.operator(registry=registry, settings=settings, standalone=True, namespaces=[namespace])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
