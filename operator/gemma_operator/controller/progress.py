"""How far fetches are: the last line of a pod's log, looked at while, and only while, one goes on."""

import time
from dataclasses import dataclass, field

from gemma_operator.api.manifest import ObjectKey
from gemma_operator.kube.cluster import Cluster
from gemma_operator.kube.errors import ClusterError
from gemma_operator.kube.kinds import POD
from gemma_operator.status.pods import FetchReport
from gemma_operator.status.progress import Progress, read_progress

PROGRESS_SECONDS = 10.0
"""Between two looks at one pod, however many endpoints wait for it. Each may cost each of them a status."""


@dataclass(slots=True)
class Fetches:
    """Asks, and remembers for PROGRESS_SECONDS what was said."""

    _looks: dict[ObjectKey, tuple[float, Progress | None]] = field(default_factory=dict)

    async def look(self, namespace: str, report: FetchReport | None, cluster: Cluster) -> Progress | None:
        """What the running fetch said last. None where none runs, or none can be read: no failure."""
        if report is None:
            return None
        pod, now = ObjectKey(POD.api_version, POD.name, namespace, report.pod), time.monotonic()
        self._looks = {key: look for key, look in self._looks.items() if now - look[0] < PROGRESS_SECONDS}
        if pod not in self._looks:
            try:
                said = read_progress(await cluster.last_words(pod, report.container), report.container)
            except ClusterError:
                said = None
            self._looks[pod] = (now, said)
        return self._looks[pod][1]
