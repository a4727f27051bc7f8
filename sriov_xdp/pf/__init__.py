"""The PF driver: owns the VFs and carries each request mailbox → vswitch → store → data path.

One thread, the writer (loop.py), does everything here; others submit work to it. Not here: frames, policy rules, HTTP.
"""
