from pathlib import Path

import pytest

from gemma_serving.weights.fetch import Request
from gemma_serving.weights.outcome import Reason, WeightsError
from gemma_serving.weights.verify import wait_until_verified
from support.hub import PATTERNS, WEIGHTS_SIZE, Fetcher

REQUEST = Request("main", PATTERNS)


def never(seconds: float) -> None:
    raise AssertionError("there was nothing to wait for")


def test_what_another_pod_fetches_meanwhile_is_found(fetcher: Fetcher) -> None:
    outcome = wait_until_verified(REQUEST, fetcher.volume(), lambda: 60.0, lambda _: fetcher.fetch() and None)
    assert outcome.reason is Reason.WEIGHTS_READY
    assert outcome.bytes_total > WEIGHTS_SIZE


def test_a_pinned_commit_needs_no_link(fetcher: Fetcher) -> None:
    commit = str(fetcher.fetch().revision)
    outcome = wait_until_verified(Request(commit, PATTERNS), fetcher.volume(), lambda: 0.0, never)
    assert outcome.revision == commit


def test_other_patterns_than_fetched_are_not_verified(fetcher: Fetcher) -> None:
    fetcher.fetch(patterns=("*.json",))
    with pytest.raises(WeightsError) as caught:
        wait_until_verified(REQUEST, fetcher.volume(), lambda: 0.0, never)
    assert caught.value.reason is Reason.WEIGHTS_PENDING


def test_giving_up_tells_how_far_the_fetch_was(fetcher: Fetcher) -> None:
    fetcher.fetch(patterns=("*.json",))
    with pytest.raises(WeightsError, match="last said: fetched"):
        wait_until_verified(REQUEST, fetcher.volume(), lambda: 0.0, never)


def test_a_file_that_lost_bytes_since_is_not_verified(fetcher: Fetcher) -> None:
    fetcher.fetch()
    fetcher.file().write_bytes(b"short")
    with pytest.raises(WeightsError):
        wait_until_verified(REQUEST, fetcher.volume(), lambda: 0.0, never)


def test_a_volume_nobody_has_written_to_is_pending(fetcher: Fetcher, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nothing has been fetched"):
        wait_until_verified(REQUEST, fetcher.volume(), lambda: 0.0, never)
