"""A segmenter for cellseg: connected bright spots."""
