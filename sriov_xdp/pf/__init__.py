"""The PF driver: owns the VFs and carries each request mailbox → vswitch → store → data path.

Four rooms, imported only downwards: process, verbs, hands, state. One thread, the writer (process/writer.py), does everything
here; others submit work to it. Not here: frames, policy rules, HTTP.
"""
