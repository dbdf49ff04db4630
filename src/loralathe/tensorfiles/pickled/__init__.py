"""PyTorch's pickle files (.ckpt, .pt, .pth, .bin) read as data: no code in them is ever run, no torch needed.

A pickle is a program for a small stack machine. Python's own machine imports the names in the file and calls
them, and even torch's weights-only one calls methods of the objects it makes. `machine` can only stack
numbers, texts and containers. It looks names up in the table of `known_names` and imports nothing; a name
outside of the table is an error. So a hostile file can do nothing; it is refused.
"""

from loralathe.tensorfiles.pickled.contents import Pickled, read_pickled
from loralathe.tensorfiles.pickled.views import View, read_view

__all__ = ["Pickled", "View", "read_pickled", "read_view"]
