"""PyTorch's pickle files (.ckpt, .pt, .pth, .bin) read as data: no code in them is ever run, no torch needed.

A pickle is a program for a small stack machine. Python's own machine imports what the file names and calls
it, and even torch's weights-only one calls methods of the objects it makes. `machine` knows only how to stack
numbers, texts and containers; what a file names is looked up in the table of `names`, nothing is imported,
and a name outside of the table ends the reading. So a hostile file can do no more than be refused.
"""

from loralathe.tensorfiles.pickled.contents import Pickled, read_pickled
from loralathe.tensorfiles.pickled.views import View, read_view

__all__ = ["Pickled", "View", "read_pickled", "read_view"]
