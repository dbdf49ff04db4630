"""Programs that call loralathe from inside: ComfyUI's nodes; and how they get in.

`install` copies a folder of this package into another program. The folders themselves run inside of those
programs and know nothing of each other.
"""

from loralathe.integrations.install import PROGRAMS, Installed, install

__all__ = ["PROGRAMS", "Installed", "install"]
