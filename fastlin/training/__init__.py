"""Training: one run or many, epoch by epoch."""
