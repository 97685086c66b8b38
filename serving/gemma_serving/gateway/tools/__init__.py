"""Tools: how a family declares them, and how its calls are read out of the answer, whatever the chunk
borders.
"""
