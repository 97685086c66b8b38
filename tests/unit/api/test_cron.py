"""Cron expressions in time zones."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_operator.api.cron import CronError, check_cron, check_time_zone, first_after, last_before

MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
EXPRESSIONS = st.sampled_from(
    [
        "* * * * *",
        "0 8 * * 1-5",
        "*/15 9-17 * * *",
        "30 2 1 * *",
        "0 0 29 2 *",
        "0 12 13 * fri",
        "5 4 * jan sun",
    ]
)


@pytest.mark.parametrize(
    ("text", "zone", "now", "expected"),
    [
        ("0 8 * * 1-5", "Europe/Berlin", "2026-11-27T07:00:00", "2026-11-30T07:00:00"),
        ("0 8 * * *", "Europe/Berlin", "2026-07-01T00:00:00", "2026-07-01T06:00:00"),
        ("0 0 29 2 *", "Etc/UTC", "2026-11-25T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 1 * mon", "Etc/UTC", "2026-11-25T00:00:00", "2026-11-30T00:00:00"),
        ("*/20 * * * *", "Asia/Kolkata", "2026-11-25T00:01:00", "2026-11-25T00:10:00"),
        ("0 0 * * 7", "Etc/UTC", "2026-11-25T00:00:00", "2026-11-29T00:00:00"),
    ],
)
def test_the_next_occurrence(text: str, zone: str, now: str, expected: str) -> None:
    found = first_after(text, zone, datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@given(EXPRESSIONS, MOMENTS)
def test_last_and_next_enclose_now_and_are_each_others_neighbours(text: str, now: datetime) -> None:
    before, after = last_before(text, "Europe/Berlin", now), first_after(text, "Europe/Berlin", now)
    assert before is not None
    assert after is not None
    assert before <= now < after
    assert first_after(text, "Europe/Berlin", after - timedelta(seconds=1)) == after


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 8 * *", "needs 5"),
        ("60 * * * *", "Bad minute.*0-59"),
        ("0 8 * * 5-1", "Bad day-of-week.*rising"),
        ("0 8 * * */0", "Bad day-of-week"),
        ("x 8 * * *", "Bad minute"),
        ("0 0 30 2 *", "Bad day-of-month.*exists"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, words: str) -> None:
    with pytest.raises(CronError, match=words):
        check_cron(text)


def test_an_unknown_time_zone_is_named() -> None:
    with pytest.raises(CronError, match="Mars/Olympus"):
        check_time_zone("Mars/Olympus")
