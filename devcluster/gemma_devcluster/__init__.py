"""A real Kubernetes on this machine: etcd, control plane, kubelet, containerd, CNI and NetworkPolicies.

Everything is compiled from pinned Go modules (`builder`), runs inside one set of Linux namespaces per cluster
(`machine`), and disappears with them.
"""
