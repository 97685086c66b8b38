"""Room 6, the world: what the operator reads from and writes to Kubernetes, behind one protocol.

Reads are answered from indexes that watches feed; only writes are requests. Nothing here decides.
"""
