"""What must survive: the operator's intent, what guests were granted, and the audit, in one SQLite file.

Knows rows and documents (JSON text), nothing of what they mean. Used by pf, from its single writer thread only.
"""
