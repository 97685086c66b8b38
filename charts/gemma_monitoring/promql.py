"""Reads PromQL with a real parser: which series an expression selects, and how it is laid out for people."""

import promql_parser as promql


def selectors(expr: str) -> list[promql.VectorSelector]:
    """Every series selector of an expression, in reading order. Raises ValueError where it does not parse."""
    found: list[promql.VectorSelector] = []

    def collect(node: promql.Expr) -> bool:
        if isinstance(node, promql.VectorSelector):
            found.append(node)
        return True

    promql.walk(promql.parse(expr), collect)
    return found


def series_names(expr: str) -> set[str]:
    """Names of the series that an expression selects."""
    return {selector.name for selector in selectors(expr) if selector.name}


def pretty(expr: str) -> str:
    """The same expression, one operand a line where it is long."""
    laid_out: str = promql.parse(expr).prettify()
    return laid_out
