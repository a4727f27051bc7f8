"""Paired measurements and the demonstration: throw-away hosts made of namespaces, driven through the product's own commands."""
