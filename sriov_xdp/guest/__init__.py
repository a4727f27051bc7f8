"""The VF driver that runs in the guest: turns what the guest does to its interface into mailbox requests.

Needs no privilege on the host; all it knows of the VF it learns from the mailbox. Imports the mailbox protocol and host's
netlink adapters, nothing of the PF.
"""
