"""Where things are: names of the children, paths and ports inside the pods."""

from posixpath import join, normpath

from gemma_operator.api.manifest import Manifest, Owner, labels_for, short_name
from gemma_operator.planning.origin import BucketOrigin, ClaimOrigin, HubOrigin
from gemma_operator.planning.plan import AdapterPlan, Plan, WeightsPlan
from gemma_serving.contract import BUCKET_REVISION, bucket_folder, repository_folder

CONFIG_KEY = "runtime.json"
CONFIG_FOLDER = "/etc/gemma"
CONFIG_PATH = f"{CONFIG_FOLDER}/{CONFIG_KEY}"
MODELS_FOLDER = "/models"
WEIGHTS_FOLDER = "/weights"
ADAPTERS_FOLDER = "/adapters"
"""LoRA adapters that do not lie beside the model's own files."""
CLAIMS_FOLDER = "/claims"
"""Claims that hold LoRA adapters, each by its name."""
SHARED_MEMORY_FOLDER = "/dev/shm"
TEMPORARY_FOLDER = "/tmp"
RUN_FOLDER = "/run/gemma"
DRAINED_FILE = f"{RUN_FOLDER}/drained"
"""Written by the gateway when its last stream has ended; the triton container's preStop waits for it."""
CACHE_FOLDER = "/var/cache/gemma"
"""Compilation caches of GPU engines."""

API_PORT = 8080
ADMIN_PORT = 9090
SERVICE_PORT = 80
TRITON_HTTP_PORT, TRITON_GRPC_PORT, TRITON_METRICS_PORT = 8000, 8001, 8002
"""Loopback only."""

DEFAULT_REVISION = "main"


def config_name(owner: Owner) -> str:
    """Name of the ConfigMap with runtime.json."""
    return short_name(owner.name, "runtime")


def service_name(owner: Owner) -> str:
    """Name of the Service, and so the host in the endpoint's URL."""
    return short_name(owner.name)


def object_metadata(owner: Owner, name: str, role: str) -> Manifest:
    """Metadata of a child: deterministic name, labels, and the reference that deletes it with its owner."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels_for(owner, role),
        "ownerReferences": [owner.owner_reference()],
    }


def weights_folder(weights: WeightsPlan) -> str:
    """Folder of the model's files inside a pod."""
    return _folder(WEIGHTS_FOLDER, weights)


def weights_path(weights: WeightsPlan) -> str:
    """What the engine opens: the folder of a checkpoint, or one GGUF file."""
    return normpath(join(weights_folder(weights), weights.entry))


def fetch_target(plan: Plan) -> str:
    """Where a pod's volume for fetched files is mounted.

    What the user filled is mounted read-only: adapters fetched beside it need their own volume.
    """
    return WEIGHTS_FOLDER if plan.weights.is_fetched else ADAPTERS_FOLDER


def adapter_mount_folder(plan: Plan, adapter: AdapterPlan) -> str:
    """Where the claim or the image of an adapter is mounted; a claim once, whoever else is in it."""
    origin, model = adapter.weights.origin, plan.weights.origin
    if not isinstance(origin, ClaimOrigin):
        return join(ADAPTERS_FOLDER, adapter.name)
    if isinstance(model, ClaimOrigin) and model.claim_name == origin.claim_name:
        return WEIGHTS_FOLDER
    return join(CLAIMS_FOLDER, origin.claim_name)


def adapter_path(plan: Plan, adapter: AdapterPlan) -> str:
    """Folder of the adapter's files inside a pod (a GGUF file, where a volume's path names one)."""
    root = fetch_target(plan) if adapter.weights.is_fetched else adapter_mount_folder(plan, adapter)
    return _folder(root, adapter.weights)


def drafter_path(plan: Plan) -> str | None:
    """Folder of the drafter's files inside a pod."""
    return None if plan.drafter is None else _folder(fetch_target(plan), plan.drafter.weights)


def _folder(root: str, weights: WeightsPlan) -> str:
    """The fetcher lays files out by source and revision; what is mounted is as its owner filled it."""
    origin = weights.origin
    if isinstance(origin, HubOrigin):
        return join(
            root, repository_folder(origin.repository, origin.server), origin.revision or DEFAULT_REVISION
        )
    if isinstance(origin, BucketOrigin):
        return join(root, bucket_folder(origin.uri, origin.endpoint), BUCKET_REVISION)
    return normpath(join(root, origin.path or ""))
