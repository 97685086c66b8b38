"""Fixtures of the front door's tests: they share the gateway's scripted engine."""

import sys
from pathlib import Path

# importlib mode leaves sys.path alone.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "gateway")]
