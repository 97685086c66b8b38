"""Cron expressions of five fields in a time zone: whether one can be read, and its occurrences around a time.

As in crontab(5), with one field more honest than some: where both day fields are restricted, either matches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_MONTHS = {
    **{"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6},
    **{"jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12},
}
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_NO_NAMES: dict[str, int] = {}
_FIELDS = (
    ("minute", 0, 59, _NO_NAMES),
    ("hour", 0, 23, _NO_NAMES),
    ("day of month", 1, 31, _NO_NAMES),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
SEARCH_DAYS = 366 * 8
"""February 29 comes every 4 years, and not in 2100."""


class CronError(ValueError):
    """The expression or the time zone cannot be read; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    any_day: bool
    any_weekday: bool

    def on(self, moment: datetime) -> bool:
        """Whether the date matches."""
        if moment.month not in self.months:
            return False
        by_day, by_weekday = moment.day in self.days, moment.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return by_day and by_weekday
        return by_day or by_weekday


def check_cron(text: str) -> None:
    """Raise CronError for an expression that cannot be read, or never comes."""
    if _next(_parse(text), datetime(2024, 1, 1, tzinfo=UTC), forward=True) is None:
        raise CronError(f"{text!r} never comes")


def check_time_zone(name: str) -> None:
    """Raise CronError for a time zone that is not in the IANA database."""
    _zone(name)


def last_before(text: str, zone: str, now: datetime) -> datetime | None:
    """The latest occurrence at or before `now`, in UTC. Raises CronError."""
    return _next(_parse(text), now.astimezone(_zone(zone)), forward=False)


def first_after(text: str, zone: str, now: datetime) -> datetime | None:
    """The earliest occurrence after `now`, in UTC. Raises CronError."""
    return _next(_parse(text), now.astimezone(_zone(zone)), forward=True)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise CronError(f"{name!r} is no IANA time zone, such as Europe/Berlin") from error


def _parse(text: str) -> Cron:
    words = text.lower().split()
    if len(words) != len(_FIELDS):
        raise CronError(
            f"{text!r} has {len(words)} fields: needs 5, minute hour day month weekday, as `0 8 * * 1-5`"
        )
    values = [frozenset(_values(word, *field)) for word, field in zip(words, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = values
    return Cron(
        minutes,
        hours,
        days,
        months,
        frozenset(day % 7 for day in weekdays),  # 7 is Sunday as well
        any_day=words[2].startswith("*"),
        any_weekday=words[4].startswith("*"),
    )


def _values(word: str, name: str, low: int, high: int, names: dict[str, int]) -> Iterator[int]:
    for part in word.split(","):
        span, _, step_text = part.partition("/")
        first_text, dash, last_text = span.partition("-")
        try:
            step = int(step_text) if step_text else 1
            if first_text == "*" and not dash:
                first, last = low, high
            else:
                first = names.get(first_text, -1) if first_text in names else int(first_text)
                last = (names[last_text] if last_text in names else int(last_text)) if dash else first
                last = high if step_text and not dash else last
        except ValueError:
            raise CronError(f"{part!r} is no {name}") from None
        if not (low <= first <= last <= high) or step < 1:
            raise CronError(f"{part!r} is no {name}: needs {low} to {high}, in rising order")
        yield from range(first, last + 1, step)


def _next(cron: Cron, local: datetime, *, forward: bool) -> datetime | None:
    """Search by day, then within it. Local times that a clock change skips come an hour later."""
    times = [(hour, minute) for hour in sorted(cron.hours) for minute in sorted(cron.minutes)]
    now = local.astimezone(UTC)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    for _ in range(SEARCH_DAYS):
        if cron.on(day):
            moments = [
                day.replace(hour=hour, minute=minute, tzinfo=local.tzinfo).astimezone(UTC)
                for hour, minute in times
            ]
            found = [moment for moment in moments if (moment > now if forward else moment <= now)]
            if found:
                return min(found) if forward else max(found)
        day += timedelta(days=1 if forward else -1)
    return None
