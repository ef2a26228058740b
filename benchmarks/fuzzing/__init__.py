"""Damages valid files in many ways and reads them, for ``fuzz.py`` and ``fuzz_guided.py``."""
