"""All rule groups, in file order."""

from gemma_monitoring.rules.front_door import FRONT_DOOR, FRONT_DOOR_RECORDINGS
from gemma_monitoring.rules.hardware import HARDWARE
from gemma_monitoring.rules.model import Alert, Group
from gemma_monitoring.rules.objectives import OBJECTIVES
from gemma_monitoring.rules.operator import OPERATOR
from gemma_monitoring.rules.readiness import READINESS
from gemma_monitoring.rules.recordings import RECORDINGS
from gemma_monitoring.rules.safety import SAFETY
from gemma_monitoring.rules.traffic import TRAFFIC

GROUPS: tuple[Group, ...] = (
    *RECORDINGS,
    FRONT_DOOR_RECORDINGS,
    OBJECTIVES,
    TRAFFIC,
    READINESS,
    FRONT_DOOR,
    HARDWARE,
    SAFETY,
    OPERATOR,
)
ALERTS: tuple[Alert, ...] = tuple(rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert))
