"""All dashboards, and the files they become."""

from gemma_monitoring.dashboards.autoscaling import AUTOSCALING
from gemma_monitoring.dashboards.cloud_monitoring import cloud_monitoring_json
from gemma_monitoring.dashboards.endpoint import SINGLE
from gemma_monitoring.dashboards.fleet import FLEET
from gemma_monitoring.dashboards.front_door import FRONT_DOORS
from gemma_monitoring.dashboards.gateway import GATEWAY
from gemma_monitoring.dashboards.grafana import grafana_json
from gemma_monitoring.dashboards.hardware import HARDWARE
from gemma_monitoring.dashboards.model import Board
from gemma_monitoring.dashboards.operator import OPERATOR

BOARDS: tuple[Board, ...] = (FLEET, SINGLE, AUTOSCALING, HARDWARE, OPERATOR, GATEWAY, FRONT_DOORS)


def dashboard_files() -> dict[str, str]:
    """Path below the chart's `dashboards/` to content."""
    files = {f"grafana/{board.uid}.json": grafana_json(board, BOARDS) for board in BOARDS}
    return files | {f"google/{board.uid}.json": cloud_monitoring_json(board) for board in BOARDS}
