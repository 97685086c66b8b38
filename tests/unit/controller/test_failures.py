"""Each kind of failure has one answer."""

import pytest

from gemma_operator.api.reasons import Reason
from gemma_operator.controller.failures import PATIENCE, SLOWEST_RECHECK_SECONDS, failure_of
from gemma_operator.kube.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NameTakenError,
    NotFoundError,
    UnavailableError,
    error_for,
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NameTakenError("taken"), Reason.NAME_TAKEN),
        (ForbiddenError("no"), Reason.FORBIDDEN),
        (InvalidError("bad"), Reason.REJECTED),
        (RuntimeError("oops"), Reason.INTERNAL_ERROR),
    ],
)
def test_what_does_not_pass_by_itself_is_told_at_once(error: Exception, reason: Reason) -> None:
    failure = failure_of(error, failures=1)
    assert failure.is_told
    assert failure.reason is reason


@pytest.mark.parametrize("error", [UnavailableError("down"), ConflictError("again"), NotFoundError("gone")])
def test_what_may_pass_is_told_only_when_it_lasts(error: Exception) -> None:
    assert not failure_of(error, failures=PATIENCE - 1).is_told
    assert failure_of(error, failures=PATIENCE).is_told


def test_the_api_servers_own_delay_is_honoured() -> None:
    error = error_for(429, "too many requests", retry_after="17")
    assert failure_of(error, failures=1).retry_seconds == 17.0


def test_a_granted_permission_and_a_freed_name_are_noticed_soon() -> None:
    for error in (ForbiddenError("no"), NameTakenError("taken")):
        assert failure_of(error, failures=50).retry_seconds == SLOWEST_RECHECK_SECONDS


def test_only_defects_leave_a_trace() -> None:
    assert failure_of(KeyError("x"), failures=1).is_defect
    assert not failure_of(InvalidError("x"), failures=1).is_defect


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, ForbiddenError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (422, InvalidError),
        (400, InvalidError),
        (429, UnavailableError),
        (500, UnavailableError),
        (504, UnavailableError),
    ],
)
def test_http_statuses_have_their_kind(status: int, kind: type[Exception]) -> None:
    assert type(error_for(status, "x", None)) is kind
