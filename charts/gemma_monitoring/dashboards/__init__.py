"""Dashboards."""


def dashboard_files() -> dict[str, str]:
    return {}
