"""The workshop: the same work in a browser. A server, a queue of jobs, and a process that holds the model."""

from loralathe.workshop.app import Options, serve

__all__ = ["Options", "serve"]
