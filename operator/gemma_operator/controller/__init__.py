"""Room 7, the corridor: from an event to a key, and from a key to writes.

Effects are here and in kube, nowhere else.
"""
