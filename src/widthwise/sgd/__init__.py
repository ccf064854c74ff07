"""What one run of SGD is: its recipe, learning rates, batches, augmentation and losses."""
