"""Readers and writers that come with cellseg."""
