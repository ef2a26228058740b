"""What the trainers of all segmenters share: options, folder, log, Ctrl-C, accuracy, report."""
