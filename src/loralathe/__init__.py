"""loralathe: turn, cut and graft LoRAs."""

__version__ = "0.1.0"
