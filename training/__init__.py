"""The tiny trained family: portraits drawn by our own code, and the models trained on them.

Outside the wheel. Each stage is one resumable command (`python -m training.judge --resume`); README.md has
the order.
"""
