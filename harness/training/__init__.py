"""Training, deterministic: everything in this folder decides the bits of a run, and its digest is the code hash."""
