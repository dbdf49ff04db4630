"""Expressions: text to untyped graph, TOML recipes."""
