"""Room 4, the desired manifests: from an owner, its spec, its plan and the settings to plain data. Pure.

One module per kind, one function per object. Rendering decides nothing: numbers come from the plan, policy
from the settings. Names are deterministic, nothing is random, nothing is timed.
"""
