"""The `lathe` command: parse options, call, show.

`commands/` holds the commands, a file each. Importing them imports click and nothing heavy; a command imports
what it needs when it runs.
"""

from loralathe.cli.app import lathe, main

__all__ = ["lathe", "main"]
