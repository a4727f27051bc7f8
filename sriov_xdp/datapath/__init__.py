"""The only place that knows BPF: compile and load, pins and links, map layouts, counters, and a reference model.

Not here: policy, VFs, namespaces. Used by pf, and by bench and tests for measurements of single programs.
"""
