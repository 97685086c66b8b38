"""Cron expressions of five fields in a time zone: whether one can be read, and its occurrences around a time.

As Debian's cron reads them, changes of the clock included (cronsim).
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

FIELDS = 5
RANGES = "needs minute 0-59, hour 0-23, day 1-31, month 1-12, weekday 0-7, ranges rising"
_SOME_TIME = datetime(2024, 1, 1, tzinfo=UTC)


class CronError(ValueError):
    """The expression or the time zone cannot be read; the text says what is wrong."""


def check_cron(text: str) -> None:
    """Raise CronError for an expression that cannot be read, or never comes."""
    if _next(text, _SOME_TIME, reverse=False) is None:
        raise CronError(f"{text!r} never comes")


def check_time_zone(name: str) -> None:
    """Raise CronError for a time zone that is not in the IANA database."""
    _zone(name)


def last_before(text: str, zone: str, now: datetime) -> datetime | None:
    """The latest occurrence at or before `now`, in UTC. Raises CronError."""
    just_after = now.replace(microsecond=0) + timedelta(seconds=1)
    return _next(text, just_after.astimezone(_zone(zone)), reverse=True)


def first_after(text: str, zone: str, now: datetime) -> datetime | None:
    """The earliest occurrence after `now`, in UTC. Raises CronError."""
    return _next(text, now.astimezone(_zone(zone)), reverse=False)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise CronError(f"{name!r} is no IANA time zone, such as Europe/Berlin") from error


def _next(text: str, local: datetime, *, reverse: bool) -> datetime | None:
    count = len(text.split())
    if count != FIELDS:
        raise CronError(
            f"{text!r} has {count} fields: needs {FIELDS}, minute hour day month weekday, as `0 8 * * 1-5`"
        )
    try:
        found = next(CronSim(text, local, reverse=reverse), None)
    except CronSimError as error:
        raise CronError(
            f"{text!r} is no cron expression ({error}); {RANGES}, and a day that exists"
        ) from error
    return None if found is None else found.astimezone(UTC)
