#!/bin/sh
# Opens the workshop: makes the environment in .venv on first use, then a browser. Options go to `lathe ui`.
set -e
cd "$(dirname "$0")"
if [ ! -x .venv/bin/lathe ] || ! .venv/bin/python -c "import starlette, diffusers" 2>/dev/null; then
    echo "Setting up, this takes some minutes / 正在準備環境，需要幾分鐘"
    python3 -m venv .venv
    .venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt ".[render,ui]"
fi
exec .venv/bin/lathe ui "$@"
