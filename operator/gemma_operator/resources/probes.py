"""Probes and termination: how long a pod may take to start, when it is hung, and how it lets go."""

from math import ceil

from gemma_operator.api.manifest import Manifest
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.layout import ADMIN_PORT, DRAINED_FILE

LOAD_MARGIN = 3
"""Startup budget over predicted load: storage and compilation differ that much between equal nodes."""
SHORTEST_BUDGET_SECONDS = 600
LONGEST_BUDGET_SECONDS = 7200
STARTUP_PERIOD_SECONDS = 5

REMOVAL_SECONDS = 10
"""Until every proxy has dropped a terminating pod (peers use 10 to 15 s)."""
TRITON_EXIT_SECONDS = 20
"""Triton is held back until the gateway's last stream has ended, so nothing runs when it is told to stop.
It polls its exit at 1 s and takes 3 to 5 s even when idle (measured); a model that hangs is cut off here."""
EXIT_SECONDS = TRITON_EXIT_SECONDS + 10
"""Of the whole pod."""
RESTART_GRACE_SECONDS = 30
"""For a container killed by a probe: the pod's own grace would let a hung engine linger for a generation."""


def startup_budget_seconds(plan: Plan) -> int:
    """Longest a pod may take from container start to its first token."""
    budget = ceil(plan.predicted_load_seconds * LOAD_MARGIN)
    return min(max(budget, SHORTEST_BUDGET_SECONDS), LONGEST_BUDGET_SECONDS)


def termination_grace_seconds(plan: Plan) -> int:
    """Removal from the endpoints, then the longest generation, then the exit."""
    return REMOVAL_SECONDS + plan.request_timeout_seconds + EXIT_SECONDS


def gateway_probes(plan: Plan) -> Manifest:
    """Startup has the budget; readiness follows the model; liveness is the gateway's own."""
    return {
        "startupProbe": _startup_probe(plan),
        "readinessProbe": _probe("/readyz", period=5, failures=3),
        "livenessProbe": _restarting_probe("/livez", period=10, failures=6),
    }


def triton_probes(plan: Plan) -> Manifest:
    """The gateway judges the engine: it knows a hung one from a busy one.

    The startup probe is triton's as well, so that a restarted triton gets the same budget again, and no more.
    """
    return {
        "startupProbe": _startup_probe(plan),
        "livenessProbe": _restarting_probe("/enginez", period=10, failures=6),
    }


def triton_lifecycle() -> Manifest:
    """Hold triton back until the gateway has let go of its last stream."""
    return {"preStop": {"exec": {"command": ["python3", "-c", waiting_script(DRAINED_FILE, ADMIN_PORT)]}}}


def waiting_script(drained_file: str, admin_port: int) -> str:
    """Python that ends when the file is there, or when nothing listens on the gateway's admin port.

    A gateway that drains keeps that port open to the end. One that has crashed will never write the file, and
    nobody streams through it.
    """
    return _WAITING_SCRIPT.format(drained_file=drained_file, admin_port=admin_port)


_WAITING_SCRIPT = """\
import os, socket, time
while not os.path.exists("{drained_file}"):
    try:
        socket.create_connection(("127.0.0.1", {admin_port}), 2).close()
    except ConnectionRefusedError:
        break
    except OSError:
        pass
    time.sleep(1)
"""


def _startup_probe(plan: Plan) -> Manifest:
    failures = ceil(startup_budget_seconds(plan) / STARTUP_PERIOD_SECONDS)
    return _restarting_probe("/startupz", STARTUP_PERIOD_SECONDS, failures)


def _restarting_probe(path: str, period: int, failures: int) -> Manifest:
    return {**_probe(path, period, failures), "terminationGracePeriodSeconds": RESTART_GRACE_SECONDS}


def _probe(path: str, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": ADMIN_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
