"""Figures, one module each. They show estimates and runs as given and compute no statistic."""
