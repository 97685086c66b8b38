"""What a replica costs: price rows times accelerators; nothing where no price is known."""

from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.hardware_rows import Price

SECONDS_PER_HOUR = 3600
MILLION = 1_000_000


def price_of(catalog: Catalog, accelerator_key: str) -> Price | None:
    """The price row of an accelerator; a partition costs its share of the device's by memory."""
    own = catalog.prices.get(accelerator_key)
    row = catalog.accelerators.get(accelerator_key)
    if own is not None or row is None or row.parent is None:
        return own
    parent, device = catalog.prices.get(row.parent), catalog.accelerators[row.parent]
    if parent is None:
        return None
    share = row.bandwidth_gbps / device.bandwidth_gbps
    return parent.model_copy(
        update={"hourly": round(parent.hourly * share, 4), "note": f"{share:.0%} of {row.parent}"}
    )


def hourly_cost(catalog: Catalog, accelerator_key: str, count: int) -> float | None:
    """Of one replica, in the price row's currency."""
    price = price_of(catalog, accelerator_key)
    return None if price is None else round(price.hourly * count, 4)


def cost_per_million_tokens(hourly: float | None, tokens_per_second: float) -> float | None:
    """At full use; an idle replica costs the same."""
    if hourly is None or tokens_per_second <= 0:
        return None
    return round(hourly / (tokens_per_second * SECONDS_PER_HOUR) * MILLION, 4)
