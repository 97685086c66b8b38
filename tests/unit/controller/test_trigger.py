"""What a change to a GemmaDeployment sets off."""

import asyncio

from gemma_operator.controller.metrics import Metrics
from gemma_operator.controller.queue import WorkQueue
from gemma_operator.controller.trigger import Trigger
from gemma_operator.controller.worker import Worker
from support.corridor import KEY, Corridor
from support.virtual_time import VirtualTimeLoop

REFUSED = {"model": {"variant": "gemma-3-8b-it"}}


def test_a_deleted_endpoint_without_children_leaves_no_series() -> None:
    async def body() -> None:
        corridor, queue, metrics = Corridor(), WorkQueue(), Metrics()
        trigger = Trigger(corridor.index, queue)
        worker = Worker(queue, corridor.cluster, corridor.basis, corridor.clock, metrics)
        corridor.user_applies(REFUSED)
        running = asyncio.create_task(worker.run())
        queue.add(KEY)
        await asyncio.sleep(1)
        assert f'model="{KEY.name}"' in metrics.page().decode()

        gone = corridor.api.objects.pop(KEY)
        version = str(int(gone["metadata"]["resourceVersion"]) + 1)
        trigger.seen({**gone, "metadata": {**gone["metadata"], "resourceVersion": version}}, True)
        await asyncio.sleep(1)
        assert f'model="{KEY.name}"' not in metrics.page().decode()
        running.cancel()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(body())
