"""Distillation methods, a file each. Those of other packages join by the entry-point group `kdcap.methods`."""
