# Everything runs in .venv, which is made on first use. Exact versions: constraints.txt.
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
endif
# Tests run side by side, each with one thread of arithmetic. A file stays together, for its fixtures.
WORKERS ?= -n auto --maxprocesses 4 --dist loadfile
STAMP := $(VENV)/.installed

.PHONY: help demo ui test test-long test-slow test-browser test-comfyui test-webui style lint fuzz kills faults bench bench-pictures chromium clean
SECONDS ?= 120
SEED ?= 0
KILLS ?= 1000

help:
	@echo "make demo       the article's method on tiny models: demo-out/report.html"
	@echo "make ui         the workshop, in your browser"
	@echo "make test       lint and tests (a few minutes)"
	@echo "make test-long  the tests that take seconds each: run them before you hand in"
	@echo "make test-slow  all tests, the slow ones too"
	@echo "make test-browser  the workshop by clicks and keys, in Chromium"
	@echo "make test-comfyui  the nodes inside ComfyUI, and pictures by it: COMFYUI_DIR=its folder, COMFYUI_PYTHON=its Python"
	@echo "make test-webui    the tab inside A1111 or Forge, and pictures by it: WEBUI_DIR=its folder, WEBUI_PYTHON=its Python"
	@echo "make fuzz       broken inputs of every kind for SECONDS=120, from SEED=0"
	@echo "make kills      SIGKILL at KILLS=1000 moments of merges, extractions and grids"
	@echo "make faults     a disk that fails at every single call"
	@echo "make lint       ruff and mypy"
	@echo "make chromium   what the tests of the web pages look at them with (Debian, Ubuntu)"
	@echo "make bench-pictures  rendering beside diffusers' own pipelines"
	@echo "make bench      full-size benchmarks: needs 45 GB of disk and half an hour"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS) -e ".[render,ui,dev]"
	@touch $@

ui: $(STAMP)
	$(BIN)/lathe ui

demo: $(STAMP)
	$(BIN)/lathe demo --out demo-out

test test-long test-slow test-demo test-browser test-comfyui test-webui fuzz kills faults: export OMP_NUM_THREADS := 1
fuzz kills: export PYTHONPATH := src:tests

# mypy runs beside the tests: without its cache it takes most of a minute on one processor. It speaks at the end.
test test-slow: style
	@echo "mypy and pytest"; $(BIN)/mypy >$(VENV)/mypy.txt 2>&1 & types=$$!; \
	$(BIN)/python -m pytest $(WORKERS) $(SLOW); tests=$$?; \
	wait $$types; types=$$?; cat $(VENV)/mypy.txt; [ $$tests = 0 ] && [ $$types = 0 ]

test-slow: SLOW := -m "(slow or not slow) and not browser and not comfyui and not webui"

test-long: $(STAMP)
	$(BIN)/python -m pytest $(WORKERS) -m "long and not slow and not demo and not browser and not comfyui and not webui"

test-demo: $(STAMP)
	$(BIN)/python -m pytest -n0 -m "demo and not slow" tests/demo

# Where Chromium is not and cannot be had, its tests say so and are skipped.
test-browser: $(STAMP)
	-@$(MAKE) --no-print-directory chromium
	$(BIN)/python -m pytest -n0 -m browser tests/in_browser tests/integrations

# Needs 16 GB of disk, 15 GB of memory, and ten minutes or more. ComfyUI's Python needs loralathe's dependencies, not loralathe.
# COMFYUI_GGUF, the folder of ComfyUI-GGUF, tries its models as well.
test-comfyui: $(STAMP)
	$(BIN)/python -m pytest -n0 -s -m comfyui tests/integrations tests/elsewhere

# Needs 8 GB of memory, and minutes. It begins as `launch.py --skip-prepare-environment`: start it once by itself before.
test-webui: $(STAMP)
	$(BIN)/python -m pytest -n0 -s -m webui tests/elsewhere

style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint: style
	$(BIN)/mypy

fuzz: $(STAMP)
	$(BIN)/python -m fuzz --seconds $(SECONDS) --seed $(SEED)

kills: $(STAMP)
	$(BIN)/python -m robustness.kills --count $(KILLS) --seed $(SEED)

faults: $(STAMP)
	$(BIN)/python -m pytest -n0 -s -m slow tests/robustness/test_every_write.py

bench: $(STAMP)
	$(BIN)/python -m benchmarks

bench-pictures: $(STAMP)
	$(BIN)/python -m benchmarks.rendering

chromium:
	@command -v chromium >/dev/null || command -v apt-get >/dev/null || \
		{ echo "install Chromium with your system's package manager"; exit 1; }
	@command -v chromium >/dev/null || apt-get install -y chromium fonts-noto-cjk

clean:
	rm -rf $(VENV) demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
