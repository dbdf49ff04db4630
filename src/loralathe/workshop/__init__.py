"""The workshop: the same work in a browser. A server, a queue of jobs, and a process that holds the model."""

from loralathe.workshop.app import Options
from loralathe.workshop.server import serve

__all__ = ["Options", "serve"]
