"""Published runs and frozen references, as data with provenance."""
