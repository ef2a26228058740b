"""A segmenter for cellseg, to copy and make your own."""
