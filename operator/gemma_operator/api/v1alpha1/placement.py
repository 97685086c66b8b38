"""Where pods may go, beyond what the plan asks for: a small part of a pod's spec, and no more of it."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from gemma_operator.api.base import ApiModel, DnsName

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
"""Prefix of 253 characters, a slash, and a name of 63."""
LabelValue = Annotated[str, StringConstraints(max_length=63)]


class TolerationOperator(StrEnum):
    """How key and value of a taint are compared."""

    EQUAL = "Equal"
    EXISTS = "Exists"


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class PodToleration(ApiModel):
    """A toleration, as in a pod."""

    key: LabelKey | None = Field(default=None)
    """Key of the taint. Default: any, with operator Exists."""
    operator: TolerationOperator = Field(default=TolerationOperator.EQUAL)
    """`Equal` compares the value, `Exists` does not."""
    value: LabelValue | None = Field(default=None)
    """Value of the taint."""
    effect: TaintEffect | None = Field(default=None)
    """Effect of the taint. Default: all."""


class PodOptions(ApiModel):
    """What every pod gets beside what is planned."""

    priority_class_name: DnsName | None = Field(default=None)
    """PriorityClass of the pods. Default: the cluster's."""
    safe_to_evict: bool = Field(default=True)
    """Whether the cluster autoscaler may move a pod to empty a node. A drain moves it in any case."""
