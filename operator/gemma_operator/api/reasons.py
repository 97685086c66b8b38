"""Every reason a condition can give, one sentence each. docs/api.md lists them from here.

Condition types, in the order they become True: Planned → WeightsReady → PodsReady → Ready. UpToDate stands
beside them: an endpoint may serve well from pods that are not what its spec now asks for. So does
ScalingActive, where the spec has `scaling`.
"""

from enum import StrEnum


class ConditionType(StrEnum):
    """The closed list of condition types."""

    PLANNED = "Planned"
    WEIGHTS_READY = "WeightsReady"
    PODS_READY = "PodsReady"
    READY = "Ready"
    UP_TO_DATE = "UpToDate"
    SCALING_ACTIVE = "ScalingActive"


class Reason(StrEnum):
    """The closed list of condition reasons; the docstring under each says when it is given."""

    # Planned
    PLANNED = "Planned"
    """The spec fits and its plan is in force."""
    UNKNOWN_VARIANT = "UnknownVariant"
    """No such variant in the catalogue; the message names the nearest."""
    UNSERVABLE_VARIANT = "UnservableVariant"
    """A known relative of Gemma that no engine here serves."""
    UNKNOWN_ACCELERATOR = "UnknownAccelerator"
    """No such accelerator in the catalogue; the message names the nearest."""
    NO_ACCELERATOR = "NoAccelerator"
    """`accelerator: Auto` found nothing in the cluster that fits."""
    DOES_NOT_FIT = "DoesNotFit"
    """Weights, KV cache and overhead exceed what the hardware has; the message holds the sum."""
    CONTEXT_TOO_LONG = "ContextTooLong"
    """contextLength exceeds the variant's maximum."""
    CONCURRENCY_TOO_HIGH = "ConcurrencyTooHigh"
    """maxConcurrentRequests exceeds what the KV cache holds at contextLength."""
    UNSUPPORTED_PRECISION = "UnsupportedPrecision"
    """The engine or the accelerator cannot run this precision, or no checkpoint has it."""
    UNSUPPORTED_ENGINE = "UnsupportedEngine"
    """The engine does not serve this variant on this accelerator."""
    IMPOSSIBLE_COUNT = "ImpossibleCount"
    """No machine has that many, or the model cannot be split that many ways."""
    INVALID_SPEC = "InvalidSpec"
    """The stored spec does not match the schema of this operator version."""
    CRD_OUTDATED = "CrdOutdated"
    """The installed CRD is older than the operator and drops fields that protect endpoints."""
    ARGUMENT_REFUSED = "ArgumentRefused"
    """engine.arguments holds one that the engine version does not know, or that is not the spec's to set."""
    TOKEN_REQUIRED = "TokenRequired"
    """The repository is gated and no token is given."""
    CACHE_ON_ONE_NODE = "CacheOnOneNode"
    """Several replicas, and a cache claim that only one node can mount."""

    # WeightsReady
    WEIGHTS_READY = "WeightsReady"
    """All files are present and verified."""
    FETCHING = "Fetching"
    """Files are being fetched."""
    WEIGHTS_PENDING = "WeightsPending"
    """The weights Job or its claim waits; the message is the scheduler's or the provisioner's."""
    ACCESS_DENIED = "AccessDenied"
    """The token is wrong or its account has not accepted the licence."""
    NOT_FOUND = "NotFound"
    """The repository, revision, claim or file does not exist."""
    CORRUPT = "Corrupt"
    """A file's checksum differs from the source's."""
    NO_SPACE = "NoSpace"
    """The volume is too small for the files."""
    FETCH_FAILED = "FetchFailed"
    """Any other failure of the fetch; the message is its last line."""
    FETCHED_BY_PODS = "FetchedByPods"
    """No cache: every pod fetches its own copy before it starts."""

    # PodsReady
    PODS_READY = "PodsReady"
    """All desired replicas take requests."""
    STARTING = "Starting"
    """Pods exist and load the model."""
    UNSCHEDULABLE = "Unschedulable"
    """The scheduler found no node; the message is its own."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The autoscaler may not add a node: a quota of the cloud project is used up; the message is its own."""
    ACCELERATOR_NOT_PROVISIONABLE = "AcceleratorNotProvisionable"
    """The autoscaler cannot add a node with what is asked for; the message is its own."""
    GPU_DRIVER_MISSING = "GPUDriverMissing"
    """A node with the right labels offers no accelerator: its driver or its device plugin does not run."""
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """An image cannot be pulled; the message is the kubelet's own."""
    OUT_OF_MEMORY = "OutOfMemory"
    """A container was killed for memory; the message gives its limit beside the plan."""
    CRASH_LOOP = "CrashLoop"
    """A container keeps failing; the message is its last line."""
    CONTAINER_REFUSED = "ContainerRefused"
    """The kubelet cannot create a container (a missing Secret, no network); the message is its own."""
    VOLUME_UNAVAILABLE = "VolumeUnavailable"
    """A volume cannot be attached or mounted; the message is the kubelet's own."""
    EVICTED = "Evicted"
    """The node gave a pod up (disk, memory, shutdown); the message is the kubelet's own."""
    START_TIMEOUT = "StartTimeout"
    """No pod became ready within the progress deadline of the rollout."""
    PODS_REJECTED = "PodsRejected"
    """The API server refuses to create pods (Pod Security, quota); the message is its own."""
    UPDATING = "Updating"
    """A rollout replaces pods; the old ones serve meanwhile."""
    DEGRADED = "Degraded"
    """Some replicas take requests, not all."""
    SUSPENDED = "Suspended"
    """`suspend` is true, or replicas is 0."""
    SCALED_TO_ZERO = "ScaledToZero"
    """Nobody asks, so there are no pods; the first request to the front door waits for one."""

    # Ready
    READY = "Ready"
    """Every condition is True."""

    # UpToDate
    UP_TO_DATE = "UpToDate"
    """The pods are what the spec asks for."""
    ROLLED_BACK = "RolledBack"
    """The rollout failed and the last good pods are back; the message has the cause. An edit tries again."""
    OPERATOR_CHANGED = "OperatorChanged"
    """The operator, its settings or the nodes changed, not the spec: the pods stay as they are."""

    # ScalingActive
    ACTIVE = "Active"
    """The operator asked the metric source itself, and the autoscaler follows it."""
    AT_MAXIMUM = "AtMaximum"
    """The autoscaler follows the load, and wants more than maxReplicas."""
    NO_CAPACITY = "NoCapacity"
    """The autoscaler asked for pods that have no place; the message is the scheduler's own."""
    METRIC_MISSING = "MetricMissing"
    """The metric source does not answer, or has no such series; the message holds the query."""
    METRIC_STALE = "MetricStale"
    """The newest sample is too old."""
    LABEL_MISMATCH = "LabelMismatch"
    """The metric is there, but under other labels than the query's; the message names them."""
    ADAPTER_MISSING = "AdapterMissing"
    """Nothing is installed, or running, that would move the replicas."""

    # any condition
    WAITING = "Waiting"
    """Something else has to happen first; the message says what."""
    NAME_TAKEN = "NameTaken"
    """An object of the needed name exists and belongs to somebody else."""
    FORBIDDEN = "Forbidden"
    """The operator lacks a permission; the message names verb and resource."""
    REJECTED = "Rejected"
    """The API server will not take an object (admission policy, validation); the message is its own."""
    API_UNAVAILABLE = "ApiUnavailable"
    """The Kubernetes API failed; the operator tries again."""
    INTERNAL_ERROR = "InternalError"
    """A defect of the operator; its log has the trace."""


_BY_NAME = {reason.value: reason for reason in Reason}


def reason_named(name: object) -> Reason | None:
    """The reason of that name; None for one that only another version knows."""
    return _BY_NAME.get(name) if isinstance(name, str) else None
