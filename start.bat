@echo off
rem Opens the workshop: makes the environment in .venv on first use, then a browser.
cd /d "%~dp0"
if not exist .venv\Scripts\lathe.exe (
    echo Setting up, this takes some minutes
    py -m venv .venv || goto failed
    .venv\Scripts\python -m pip install --disable-pip-version-check -c constraints.txt ".[render,ui]" || goto failed
)
.venv\Scripts\lathe ui %*
if errorlevel 1 goto failed
exit /b 0
:failed
echo Something went wrong: see the lines above.
pause
exit /b 1
