"""The `lathe` command: parse options, call, show."""
