"""The daemon's faces to the outside: configuration documents, the admin socket and its client, the metrics.

Translates between documents and the PF's values; decides nothing. Used by cli.
"""
