"""Broken inputs, many of them: whatever is given, a command ends in time, with words, and without a trace.

`python -m fuzz --seconds 120 --seed 0` (with `src` and `tests` on PYTHONPATH) draws cases from every target,
runs each through the command line in a guarded process, and judges what came of it. docs/reliability.md
says what is promised.
"""
