"""Soups: averages of the epochs of one training, tried on paired seeds before one is written."""
