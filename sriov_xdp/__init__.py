"""SR-IOV without SR-IOV hardware, for Linux. ARCHITECTURE.md tells which folder is what, and who imports whom."""
