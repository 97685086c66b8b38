import json
from dataclasses import replace
from typing import Any

import pytest

from gemma_operator.api.manifest import CLAIM_ANNOTATION, Manifest
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import ConditionStatus, WeightsStatus
from gemma_operator.planning.origin import BucketOrigin, HubOrigin, ImageOrigin
from gemma_operator.planning.plan import AdapterPlan, Plan
from gemma_operator.status.observed import observe
from gemma_operator.status.verdict import Verdict
from gemma_operator.status.weights import weights_status, weights_verdict
from support.children import (
    EARLIER,
    LATER,
    NOW,
    claim,
    condition,
    deployment,
    end,
    ended,
    job,
    job_pod,
    pod,
    replica_set,
    running,
    unscheduled,
    waiting,
    warning,
)
from support.plans import CLAIM_WEIGHTS, COMMIT, CPU_PLAN, OWNER, from_origin, spec_of

COMPLETE = condition("Complete", "True")
TOKEN = json.dumps({"reason": "TokenRequired", "message": "google/gemma-3-270m is gated: a token is needed"})
DONE = json.dumps(
    {
        "reason": "WeightsReady",
        "message": "",
        "revision": COMMIT,
        "bytes_done": 253113024,
        "bytes_total": 253113024,
    }
)


def with_cache(*children: Manifest, events: tuple[Manifest, ...] = (), now: str = NOW) -> Verdict:
    return weights_verdict(spec_of(cache={}), CPU_PLAN, observe(OWNER, children, events), now)


def without_cache(*init: Manifest, now: str = NOW) -> Verdict:
    children = [
        deployment(),
        replica_set(),
        *(pod(f"assistant-new-{i}", init=[c]) for i, c in enumerate(init)),
    ]
    return weights_verdict(spec_of(), CPU_PLAN, observe(OWNER, children), now)


def test_a_job_yet_to_be_made() -> None:
    assert with_cache().reason is Reason.WEIGHTS_PENDING


def test_a_job_that_has_succeeded() -> None:
    answer = with_cache(job(conditions=[COMPLETE]))
    assert answer.status is ConditionStatus.TRUE
    assert answer.message == f"google/gemma-3-270m at {COMMIT} is verified in claim assistant-weights"


def test_a_job_for_other_weights_does_not_count() -> None:
    plan = from_origin(CPU_PLAN, HubOrigin("google/gemma-3-270m", "f" * 40))
    answer = weights_verdict(spec_of(cache={}), plan, observe(OWNER, [job(conditions=[COMPLETE])]), NOW)
    assert answer.status is ConditionStatus.FALSE


def test_the_newest_job_for_the_same_weights_counts() -> None:
    newer = job("assistant-weights-0", created=LATER)
    newer["metadata"]["annotations"] = {CLAIM_ANNOTATION: "another-claim"}
    assert with_cache(job(conditions=[COMPLETE]), newer).status is ConditionStatus.FALSE


def test_of_two_jobs_into_one_claim_the_one_that_succeeds_counts() -> None:
    """Two users of a claim, of whom one names a token that does not open the repository."""
    newer = job("assistant-weights-0", created=LATER)
    denied = job_pod(waiting("weights", "CrashLoopBackOff", last=end(1, TOKEN)), of="assistant-weights-0")
    assert with_cache(newer, denied).reason is Reason.TOKEN_REQUIRED
    assert with_cache(newer, denied, job(), job_pod(running("weights"))).reason is Reason.FETCHING
    assert with_cache(newer, denied, job(conditions=[COMPLETE])).status is ConditionStatus.TRUE


def test_a_job_that_fetches() -> None:
    assert with_cache(job(), job_pod(running("weights"))).reason is Reason.FETCHING


def test_a_fetch_that_is_done_before_its_job_knows() -> None:
    answer = with_cache(job(), job_pod(ended("weights", 0, DONE)))
    assert answer.reason is Reason.FETCHING
    assert "is verified" in answer.message


@pytest.mark.parametrize(
    "reason",
    ["TokenRequired", "AccessDenied", "NotFound", "Corrupt", "NoSpace", "FetchFailed"],
)
def test_the_fetchers_own_reason_and_message(reason: str) -> None:
    report = json.dumps({"reason": reason, "message": "what, has, do"})
    answer = with_cache(job(), job_pod(waiting("weights", "CrashLoopBackOff", last=end(1, report))))
    assert answer == Verdict.false(Reason(reason), "what, has, do")


def test_a_fetcher_that_died_without_a_word_is_told_by_its_last_line() -> None:
    answer = with_cache(
        job(), job_pod(waiting("weights", "CrashLoopBackOff", last=end(1, "a\nConnectionError: b")))
    )
    assert answer == Verdict.false(Reason.FETCH_FAILED, "ConnectionError: b")


def test_a_reason_nobody_knows_is_a_failed_fetch() -> None:
    report = json.dumps({"reason": "Gremlins", "message": "m"})
    answer = with_cache(job(), job_pod(ended("weights", 1, report)))
    assert answer == Verdict.false(Reason.FETCH_FAILED, "m")


def test_a_fetcher_killed_for_memory() -> None:
    answer = with_cache(job(), job_pod(ended("weights", 137, reason="OOMKilled")))
    assert answer.reason is Reason.OUT_OF_MEMORY


def test_a_failure_stands_while_the_next_attempt_has_just_begun() -> None:
    children = (job(), job_pod(running("weights", since=NOW, last=end(1, TOKEN))))
    assert with_cache(*children, now=NOW).reason is Reason.TOKEN_REQUIRED
    assert with_cache(*children, now=LATER).reason is Reason.FETCHING


def test_a_missing_secret_means_a_missing_token() -> None:
    words = 'secret "hub" not found'
    answer = with_cache(job(), job_pod(waiting("weights", "CreateContainerConfigError", words)))
    assert answer == Verdict.false(Reason.TOKEN_REQUIRED, words)


def test_a_job_that_has_given_up() -> None:
    failed = condition("Failed", "True", "Job has reached the specified backoff limit")
    assert with_cache(job(conditions=[failed])).reason is Reason.FETCH_FAILED


def test_a_claim_that_is_not_provisioned_is_told_by_its_event() -> None:
    pending = claim()
    complaint = warning(pending, "ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found')
    answer = with_cache(pending, job(), events=(complaint,))
    assert answer.reason is Reason.WEIGHTS_PENDING
    assert 'storageclass.storage.k8s.io "fast" not found' in answer.message


def test_a_fetching_pod_without_a_node() -> None:
    answer = with_cache(
        job(), job_pod(conditions=[unscheduled("0/1 nodes are available: 1 Insufficient cpu.")])
    )
    assert answer.reason is Reason.WEIGHTS_PENDING
    assert "Insufficient cpu" in answer.message


def test_a_fetching_pod_without_its_image() -> None:
    answer = with_cache(job(), job_pod(waiting("weights", "ImagePullBackOff", "no such image")))
    assert answer.reason is Reason.IMAGE_PULL_FAILED


def test_a_job_whose_pods_are_refused() -> None:
    refused = job()
    answer = with_cache(refused, events=(warning(refused, "FailedCreate", "violates PodSecurity"),))
    assert answer.reason is Reason.WEIGHTS_PENDING
    assert "violates PodSecurity" in answer.message


def test_pods_that_fetch_for_themselves() -> None:
    assert without_cache().status is ConditionStatus.UNKNOWN
    assert without_cache(running("weights")).reason is Reason.FETCHING
    done = without_cache(ended("weights", 0, DONE))
    assert (done.status, done.reason) == (ConditionStatus.TRUE, Reason.FETCHED_BY_PODS)


def test_one_pod_that_cannot_fetch_is_told_beside_one_that_could() -> None:
    answer = without_cache(
        ended("weights", 0, DONE), waiting("weights", "CrashLoopBackOff", last=end(1, TOKEN))
    )
    assert answer.reason is Reason.TOKEN_REQUIRED


def test_one_more_pod_that_fetches_takes_nothing_back() -> None:
    assert without_cache(ended("weights", 0, DONE), running("weights")).status is ConditionStatus.TRUE


def test_weights_in_a_claim_are_taken_as_they_are() -> None:
    plan = replace(CPU_PLAN, weights=CLAIM_WEIGHTS)
    answer = weights_verdict(spec_of(), plan, observe(OWNER, []), NOW)
    assert answer == Verdict.true(Reason.WEIGHTS_READY, "claim models is used as it is; nothing is fetched")


def progress(plan: Plan, previous: WeightsStatus | None, *children: Manifest) -> WeightsStatus:
    return weights_status(plan, observe(OWNER, children), previous)


def test_the_resolved_revision_and_bytes_reach_the_status_and_outlive_the_pod() -> None:
    done = progress(CPU_PLAN, None, job(conditions=[COMPLETE]), job_pod(ended("weights", 0, DONE)))
    assert done == WeightsStatus(
        source="google/gemma-3-270m", revision=COMMIT, bytes_done=253113024, bytes_total=253113024
    )
    assert progress(CPU_PLAN, done, job(conditions=[COMPLETE])) == done


def test_another_source_forgets_the_progress_of_the_last() -> None:
    stale: Any = WeightsStatus(source="google/gemma-3-1b", revision="x", bytes_done=1)
    assert progress(CPU_PLAN, stale) == WeightsStatus(source="google/gemma-3-270m", revision=COMMIT)


def test_times_are_compared_as_times() -> None:
    children = (job(), job_pod(running("weights", since=EARLIER, last=end(1, TOKEN))))
    assert with_cache(*children, now="2026-11-25T02:00:29Z").reason is Reason.TOKEN_REQUIRED
    assert with_cache(*children, now="2026-11-25T02:00:30Z").reason is Reason.FETCHING


ADAPTED = replace(
    CPU_PLAN,
    adapters=(AdapterPlan("polite", replace(CPU_PLAN.weights, origin=HubOrigin("team/polite", COMMIT)), 16),),
)


def adapted(*init: Manifest) -> tuple[Verdict, WeightsStatus]:
    children = [deployment(), replica_set(), pod("assistant-new-0", init=list(init))]
    observed = observe(OWNER, children)
    return weights_verdict(spec_of(), ADAPTED, observed, NOW), weights_status(ADAPTED, observed, None)


def test_adapter_that_cannot_be_fetched_is_named() -> None:
    verdict, status = adapted(
        waiting("weights-polite", "CrashLoopBackOff", last=end(1, TOKEN)),
        waiting("weights", "PodInitializing"),
    )
    assert verdict.reason is Reason.TOKEN_REQUIRED
    assert verdict.message.startswith("adapter polite: ")
    assert status.revision == COMMIT


def test_fetch_is_over_when_the_model_and_its_adapters_are_there() -> None:
    half, _ = adapted(ended("weights-polite", 0, DONE), running("weights"))
    whole, status = adapted(ended("weights-polite", 0, DONE), ended("weights", 0, DONE))
    assert (half.reason, whole.reason) == (Reason.FETCHING, Reason.FETCHED_BY_PODS)
    assert "google/gemma-3-270m" in whole.message
    assert "adapter polite" in whole.message
    assert status.bytes_done == 253113024


BUCKET = BucketOrigin("gs://models/270m")
LISTED = "a" * 40


def fetched_from_the_bucket() -> list[Manifest]:
    word = json.dumps({**json.loads(DONE), "revision": LISTED})
    return [deployment(), replica_set(), pod("assistant-new-0", init=[ended("weights", 0, word)])]


def test_a_bucket_is_named_by_its_uri_and_its_revision_is_what_the_fetch_found() -> None:
    plan, children = from_origin(CPU_PLAN, BUCKET), fetched_from_the_bucket()
    answer = weights_verdict(spec_of(), plan, observe(OWNER, children), NOW)
    assert answer.message == "every pod fetches its own copy of gs://models/270m"
    said = weights_status(plan, observe(OWNER, children), None)
    assert (said.source, said.revision) == ("gs://models/270m", LISTED)


def test_an_image_is_used_as_it_is_and_its_digest_is_its_revision() -> None:
    digest = f"sha256:{'0' * 64}"
    plan = from_origin(CPU_PLAN, ImageOrigin(f"registry.example/gemma@{digest}"))
    answer = weights_verdict(spec_of(), plan, observe(OWNER, []), NOW)
    assert answer.status is ConditionStatus.TRUE
    assert answer.message == f"image registry.example/gemma@{digest} is used as it is; nothing is fetched"
    assert weights_status(plan, observe(OWNER, []), None).revision == digest
