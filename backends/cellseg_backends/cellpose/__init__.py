"""The Cellpose segmenter: the cellpose package on the tiles and the brightness of cellseg."""
