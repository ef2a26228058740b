"""Expansion of masks and compensation of lateral bleed that come with cellseg."""
