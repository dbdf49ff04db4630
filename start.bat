@echo off
rem Opens the workshop: makes the environment in .venv on first use, then a browser. Options go to `lathe ui`.
rem The console reads this file as UTF-8 from the next line on; nothing above it may be Chinese.
chcp 65001 >nul
cd /d "%~dp0"
if exist .venv\Scripts\lathe.exe .venv\Scripts\python -c "import starlette, diffusers" 2>nul && goto open
echo Setting up, this takes some minutes / 正在準備環境，需要幾分鐘
py -m venv .venv || goto failed
.venv\Scripts\python -m pip install --disable-pip-version-check -c constraints.txt ".[render,ui]" || goto failed
:open
.venv\Scripts\lathe ui %*
if errorlevel 1 goto failed
exit /b 0
:failed
echo Something went wrong: see the lines above / 出了問題：請看上面的訊息
pause
exit /b 1
