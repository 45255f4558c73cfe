"""The run store: a folder a run, written whole, and believed only after its digests are checked."""
