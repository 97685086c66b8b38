"""One front door for a fleet: one OpenAI endpoint before every GemmaDeployment of a cluster.

It routes by `model`, holds requests for endpoints without pods, and counts both for whoever scales them.
Keys, limits and safety stay where they are enforced once: at the pods, which share a store of limits.
"""
