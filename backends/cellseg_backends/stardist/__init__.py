"""The StarDist segmenter: the stardist package on the tiles and the brightness of cellseg."""
