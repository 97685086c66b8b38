"""`spec.monitoring`: whether an endpoint is scraped, and what its team promises."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from gemma_operator.api.base import ApiModel


class Scrape(StrEnum):
    """Who scrapes the pods' metrics."""

    AUTO = "Auto"
    NONE = "None"


class Objectives(ApiModel):
    """What the endpoint promises. Alerts and dashboards judge it by these; without them it is not judged."""

    time_to_first_token_p95_seconds: Annotated[float, Field(ge=0.001, le=600)] | None = Field(default=None)
    """95 of 100 requests get their first token within this many seconds, queueing included."""
    time_per_output_token_p95_seconds: Annotated[float, Field(ge=0.001, le=60)] | None = Field(default=None)
    """95 of 100 requests get each further token within this many seconds on average."""
    availability_percent: Annotated[float, Field(ge=50, le=99.999)] | None = Field(default=None)
    """Share of requests that neither fail nor are turned away for lack of room, over 30 days."""


class MonitoringSpec(ApiModel):
    """How the endpoint is watched."""

    scrape: Scrape = Field(default=Scrape.AUTO)
    """`None` keeps the chart's monitors away from the pods. Default: they are scraped."""
    objectives: Objectives = Field(default=Objectives())
    """What the endpoint promises. Default: nothing."""
