"""Type and plan from headers, check, run, report."""
