"""`spec.rollout`: how pods are replaced, and who decides that a newer operator replaces them."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from gemma_operator.api.base import ApiModel


class Strategy(StrEnum):
    """How a new pod takes the place of an old one."""

    AUTO = "Auto"
    SURGE = "Surge"
    RECREATE = "Recreate"


class UpgradePolicy(StrEnum):
    """Whether a newer operator may replace pods that nobody edited."""

    MANUAL = "Manual"
    AUTOMATIC = "Automatic"


class RolloutSpec(ApiModel):
    """How pods are replaced."""

    strategy: Strategy = Field(default=Strategy.AUTO)
    """`Surge`: the new pod first. `Recreate`: one old pod goes first. `Auto`: whichever there is room for."""
    upgrade_policy: UpgradePolicy = Field(default=UpgradePolicy.MANUAL)
    """`Manual`: what only a newer operator would change waits for an edit. `Automatic`: it is rolled out."""
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=86400)] | None = Field(default=None)
    """Without progress for so long, a rollout is undone. Default and minimum: from the startup budget."""
