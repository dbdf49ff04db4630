"""What runs inside of other programs: nodes for ComfyUI, an extension for A1111 and Forge; how they get in.

`install` copies a folder of this package into another program. The folders themselves run inside of those
programs and know nothing of each other. `PartsDoor` is what both add to their program's server.
"""

from loralathe.integrations.door import HEADER, METHODS, ROUTE, PartsDoor
from loralathe.integrations.install import PROGRAMS, Installed, install

__all__ = ["HEADER", "METHODS", "PROGRAMS", "ROUTE", "Installed", "PartsDoor", "install"]
