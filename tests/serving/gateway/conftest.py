"""Fixtures of the gateway's tests."""

import sys
from pathlib import Path

# importlib mode leaves sys.path alone; the tests of this folder share a scripted engine.
sys.path.insert(0, str(Path(__file__).parent))
