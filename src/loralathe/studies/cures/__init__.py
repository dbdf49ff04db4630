"""The cure for a LoRA that acts without its trigger word: what reacts without it is damped by layers."""
