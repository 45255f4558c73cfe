"""Pure statistics: a runs table in, frozen results out; no torch, files, clock or global random state."""
