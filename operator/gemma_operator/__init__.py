"""The operator: a GemmaDeployment in, a running fleet of serving pods out."""

__version__ = "0.1.0"
