"""Generates the chart's rules and dashboards from one source. Build-time only: nothing that ships imports
it."""
