"""The kinds of faults that ``benchmarks/faults.py`` tries, one a module."""
