"""Blocks by segments: which parts of a LoRA matter, found by halving, with as few pictures as it takes."""
