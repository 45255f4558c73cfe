"""Measured speed: ours and what it is compared with, interleaved in one process, medians, as ratios."""
