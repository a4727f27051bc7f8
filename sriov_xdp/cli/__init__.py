"""The command line, and where the processes are put together.

sriov-xdp runs on the host, sriov-vf in a guest. Commands talk to the daemon's admin socket; only `daemon`, `teardown`,
`doctor`, `demo` and `bench` do work of their own.
"""
