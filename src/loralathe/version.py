"""The version of this package, which files record: below all packages, so that each of them may name it."""

__version__ = "0.1.0"
