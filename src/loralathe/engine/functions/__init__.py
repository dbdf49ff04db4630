"""Merge methods: functions of the formula language that are no plain sums.

`method` says what a method is, one module each holds the literature's; `calls` turns a call into a form.
Sums (`weighted_sum`, `triple_sum`, …) become plain terms of the normal form and are no methods at all.
"""
