"""Kubernetes quantities: parse to whole bytes or millicores, format back. parse(format(x)) == x."""

import re
from decimal import ROUND_CEILING, Decimal

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_SMALL: dict[str, Decimal] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
}
_FACTORS = {**_SMALL, **{name: Decimal(factor) for name, factor in {**_BINARY, **_DECIMAL}.items()}}
_PATTERN = re.compile(
    r"^(?P<number>[0-9]+(\.[0-9]*)?|\.[0-9]+)((?P<exponent>[eE][+-]?[0-9]+)|(?P<unit>[A-Za-z]*))$"
)

KIB, MIB, GIB = 2**10, 2**20, 2**30
"""Bytes."""


class QuantityError(ValueError):
    """Not a Kubernetes quantity; the text quotes it."""


def parse_bytes(text: str | int) -> int:
    """Whole bytes of a quantity such as `8Gi`, rounded up. Raises QuantityError."""
    return _ceiling(_parse(text))


def parse_millicores(text: str | int) -> int:
    """Thousandths of a core of a quantity such as `500m` or `4`, rounded up. Raises QuantityError."""
    return _ceiling(_parse(text) * 1000)


def format_bytes(count: int) -> str:
    """The shortest exact form: `8Gi`, `512Mi`, or plain bytes."""
    if count > 0:
        for unit in ("Ti", "Gi", "Mi", "Ki"):
            if count % _BINARY[unit] == 0:
                return f"{count // _BINARY[unit]}{unit}"
    return str(count)


def format_millicores(count: int) -> str:
    """`4` for 4000, `500m` for 500."""
    return str(count // 1000) if count % 1000 == 0 else f"{count}m"


def gib(count: int) -> str:
    """Bytes as GiB with two decimals, for people: `7.45`."""
    return f"{count / GIB:.2f}"


def _parse(text: str | int) -> Decimal:
    match = _PATTERN.match(str(text))
    if match is None:
        raise QuantityError(f"{text!r} is not a quantity such as 500m, 4 or 8Gi")
    if match["exponent"]:
        return Decimal(match["number"] + match["exponent"])
    unit = match["unit"]
    if unit not in _FACTORS:
        raise QuantityError(f"{text!r} has no known unit: {unit!r}")
    return Decimal(match["number"]) * _FACTORS[unit]


def _ceiling(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_CEILING))
