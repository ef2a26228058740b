"""Segmenters that come with cellseg."""
