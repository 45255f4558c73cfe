"""Is a new study's table a replicate of a reference? The statistics of `harness verify`."""
