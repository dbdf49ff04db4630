"""Bytes on disk, without knowledge of models: headers, positional reads, atomic writers, hashes."""
