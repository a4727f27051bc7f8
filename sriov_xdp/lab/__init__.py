"""Throw-away hosts and machines, traffic through them, and the demonstration that runs in one.

Used by the tests, the benchmark and the command line; nothing of the product needs it."""
