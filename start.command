#!/bin/sh
# For a double click on macOS: the same as start.sh.
exec "$(dirname "$0")/start.sh" "$@"
