#!/bin/sh
# Opens the workshop: makes the environment in .venv on first use, then a browser. Options go to `lathe ui`.
cd "$(dirname "$0")" || exit 1

failed() {
    echo "Something went wrong: see the lines above / 出了問題：請看上面的訊息"
    exit 1
}

if [ ! -x .venv/bin/lathe ] || ! .venv/bin/python -c "import starlette, diffusers" 2>/dev/null; then
    echo "Setting up, this takes some minutes / 正在準備環境，需要幾分鐘"
    python3 -m venv .venv || failed
    .venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt ".[render,ui]" || failed
fi
exec .venv/bin/lathe ui "$@"
