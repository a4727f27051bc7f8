"""Virtual machines with stock kernels over this host's own files: what could end a host is tried where it ends nothing.

kernels.py fetches a Debian kernel and unpacks it, initramfs.py makes what boots it, machine.py boots it under QEMU and runs one
command inside. For the tests in tests/machines only.
"""
