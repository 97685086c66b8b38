"""The condition WeightsReady: whether the files are where the engine will look for them."""

from datetime import datetime

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec, WeightsStatus
from gemma_operator.planning.origin import HubOrigin, Origin
from gemma_operator.planning.plan import Plan
from gemma_operator.status.observed import JobState, Observed
from gemma_operator.status.pods import WEIGHTS_CONTAINER, FetchReport, Trouble
from gemma_operator.status.verdict import Verdict

SETTLED_ATTEMPT_SECONDS = 30
"""A new attempt that has run this long is past what failed the last one; until then the failure stands."""

_WAITING_REASONS = frozenset({Reason.UNSCHEDULABLE, Reason.VOLUME_UNAVAILABLE, Reason.PODS_REJECTED})


def weights_verdict(spec: GemmaDeploymentSpec, plan: Plan, observed: Observed, now: str) -> Verdict:
    """Judge the weights: from the Job when there is a cache, from the pods when they fetch for themselves."""
    weights = plan.weights
    if not plan.fetched:
        message = f"{weights.origin.source} is used as it is; nothing is fetched"
        return Verdict.true(Reason.WEIGHTS_READY, message)
    if spec.cache is None:
        return _of_pods(plan, observed, now)
    return _of_job(plan, observed, now)


def weights_status(plan: Plan, observed: Observed, previous: WeightsStatus | None) -> WeightsStatus:
    """Source, resolved revision and bytes; what a pod reported is kept after the pod is gone."""
    origin = plan.weights.origin
    source = origin.source
    going = observed.progress
    if going is not None and going.container == WEIGHTS_CONTAINER:
        return WeightsStatus(
            source=source,
            revision=going.revision or origin.revision,
            bytes_done=going.bytes_done,
            bytes_total=going.bytes_total,
        )
    report = _latest_report(plan, observed)
    if report is None or report.revision is None:
        is_same = previous is not None and previous.source == source
        return (
            previous
            if previous is not None and is_same
            else WeightsStatus(source=source, revision=origin.revision)
        )
    return WeightsStatus(
        source=source,
        revision=report.revision,
        bytes_done=report.bytes_done,
        bytes_total=report.bytes_total,
    )


def running_fetch(plan: Plan, observed: Observed) -> FetchReport | None:
    """The fetch that goes on: the Job's, or the first pod's that fetches for itself."""
    job = _job_of(plan, observed)
    reports = [job.fetch] if job is not None else [pod.fetch for pod in observed.pods if pod.is_current]
    return next((report for report in reports if report is not None and report.is_running), None)


def _of_job(plan: Plan, observed: Observed, now: str) -> Verdict:
    job = _job_of(plan, observed)
    if job is None:
        return Verdict.false(Reason.WEIGHTS_PENDING, "the Job that fetches the weights is yet to be made")
    if job.is_complete:
        return Verdict.true(Reason.WEIGHTS_READY, f"{_source(plan)} is verified in claim {job.claim_name}")
    failure = _standing_failure(job.fetch, now)
    if failure is not None:
        return Verdict.false(failure.reason, failure.message)
    if job.failure is not None:
        return Verdict.false(Reason.FETCH_FAILED, f"Job {job.name} has given up: {job.failure}")
    if job.fetch is not None and (job.fetch.is_done or job.fetch.is_running):
        fetching = f"is being fetched by Job {job.name}{_how_far(observed)}"
        stage = f"is verified; Job {job.name} is finishing" if job.fetch.is_done else fetching
        return Verdict.false(Reason.FETCHING, f"{_source(plan)} {stage}")
    return _waiting_job(job, observed)


def _how_far(observed: Observed) -> str:
    return "" if observed.progress is None else f": {observed.progress.sentence()}"


def _waiting_job(job: JobState, observed: Observed) -> Verdict:
    claim = next((claim for claim in observed.claims if claim.name == job.claim_name), None)
    if claim is not None and not claim.is_bound and claim.message is not None:
        return Verdict.false(Reason.WEIGHTS_PENDING, f"claim {claim.name}: {claim.message}")
    if job.trouble is not None:
        reason = Reason.WEIGHTS_PENDING if job.trouble.reason in _WAITING_REASONS else job.trouble.reason
        return Verdict.false(reason, f"Job {job.name}: {job.trouble.message}")
    return Verdict.false(Reason.WEIGHTS_PENDING, f"Job {job.name} is starting")


def _of_pods(plan: Plan, observed: Observed, now: str) -> Verdict:
    reports = [pod.fetch for pod in observed.pods if pod.is_current and not pod.is_terminating]
    failures = [failure for failure in (_standing_failure(report, now) for report in reports) if failure]
    if failures:
        return Verdict.false(failures[0].reason, failures[0].message)
    if any(report is not None and report.is_done for report in reports):
        return Verdict.true(Reason.FETCHED_BY_PODS, f"every pod fetches its own copy of {_source(plan)}")
    if any(report is not None and report.is_running for report in reports):
        return Verdict.false(Reason.FETCHING, f"pods fetch {_source(plan)}{_how_far(observed)}")
    return Verdict.unknown(Reason.WAITING, f"no pod has begun to fetch {_source(plan)}")


def _standing_failure(report: FetchReport | None, now: str) -> Trouble | None:
    if report is None or report.is_done or report.failure is None:
        return None
    if report.is_running and report.attempt_started is not None:
        age = datetime.fromisoformat(now) - datetime.fromisoformat(report.attempt_started)
        if age.total_seconds() >= SETTLED_ATTEMPT_SECONDS:
            return None
    return report.failure


def _latest_report(plan: Plan, observed: Observed) -> FetchReport | None:
    job = _job_of(plan, observed)
    if job is not None:
        return job.fetch
    reports = (pod.fetch for pod in observed.pods if pod.is_current)
    return next((report for report in reports if report is not None and report.revision is not None), None)


def _job_of(plan: Plan, observed: Observed) -> JobState | None:
    """The newest for these files; of several into the same claim, one that is done, or at least gets on."""
    jobs = [job for job in observed.jobs if job.key == plan.fetched_key]
    newest = max(jobs, key=lambda job: (job.created, job.name), default=None)
    beside = [job for job in jobs if newest is not None and job.claim_name == newest.claim_name]
    return max(beside, key=lambda job: (job.is_complete, _gets_on(job), job.created, job.name), default=None)


def _gets_on(job: JobState) -> bool:
    return job.fetch is not None and job.fetch.failure is None and (job.fetch.is_done or job.fetch.is_running)


def _source(plan: Plan) -> str:
    names = [f"adapter {adapter.name}" for adapter in plan.adapters if adapter.weights.is_fetched]
    if plan.weights.is_fetched:
        names.insert(0, _named(plan.weights.origin))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _named(origin: Origin) -> str:
    """What lies in a bucket has no name but its own: the fetch tells its revision."""
    return (
        f"{origin.source} at {origin.revision or 'main'}" if isinstance(origin, HubOrigin) else origin.source
    )
