"""A Mask R-CNN that finds nuclei: the network, its training, and the segmenter."""
