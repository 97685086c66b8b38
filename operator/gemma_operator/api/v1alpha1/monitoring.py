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


class DegradedSpec(ApiModel):
    """From where a replica's `/health` says `degraded`. It goes on serving."""

    canary_seconds: Annotated[float, Field(ge=0.1, le=600)] = Field(default=10.0)
    """One token of the idle engine takes longer."""
    success_percent: Annotated[float, Field(ge=0, le=100)] = Field(default=95.0)
    """Fewer of the recent requests succeeded."""
    queue_percent: Annotated[float, Field(ge=1, le=100)] = Field(default=80.0)
    """The queue is fuller."""
    memory_percent: Annotated[float, Field(ge=1, le=100)] = Field(default=90.0)
    """The gateway uses more of its memory limit."""


class MonitoringSpec(ApiModel):
    """How the endpoint is watched."""

    scrape: Scrape = Field(default=Scrape.AUTO)
    """`None` keeps the chart's monitors away from the pods. Default: they are scraped."""
    objectives: Objectives = Field(default=Objectives())
    """What the endpoint promises. Default: nothing."""
    degraded: DegradedSpec = Field(default=DegradedSpec())
    """From where `/health` says `degraded`."""
    quality_sample_percent: Annotated[float, Field(ge=0, le=100)] = Field(default=0)
    """Share of answers that are scored after they were sent, as `gemma_quality_score`. Default: none."""
    endpoint_picker_aliases: bool = Field(default=False)
    """Repeat three gauges under the names that Gateway API endpoint pickers look for (`vllm:…`)."""
