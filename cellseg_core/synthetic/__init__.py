"""Simulated multiplexed tissue with its ground truth: any size, any window, seeded.

>>> tissue = simulate_tissue((128, 128), seed=1)
>>> tissue.image.channels[0], int(tissue.nuclei.max()) == len(tissue.types)
('DAPI', True)
"""

from __future__ import annotations

from cellseg_core.synthetic.tissue import (
    BLOCK,
    PIXEL_SIZE,
    SimulatedTissue,
    Tissue,
    simulate_tissue,
)

__all__ = ["BLOCK", "PIXEL_SIZE", "SimulatedTissue", "Tissue", "simulate_tissue"]
