"""The only place that knows Linux: netlink, network namespaces, ethtool features, bpffs, systemd.

Not here: policy, VFs, BPF programs. Used by pf and, for their own ends, by guest, cli and bench.
"""
