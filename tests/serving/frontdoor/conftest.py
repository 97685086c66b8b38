"""Fixtures of the front door's tests: they share the gateway's scripted engine."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "gateway"))
