"""The LoRA family as a type: parse, strengths and block weights, deltas, write."""
