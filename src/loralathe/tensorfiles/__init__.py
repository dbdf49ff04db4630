"""Bytes on disk, with no knowledge of models: safetensors headers, positional reads, atomic writers, hashes."""
