"""Merge methods: functions of the formula language that are not plain sums.

`method` says what a method is, one module each holds the literature's; `calls` turns a call into an
expression. Sums (`weighted_sum`, `triple_sum`, …) become plain terms and need no method.
"""
