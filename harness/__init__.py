"""kdcap's harness: runs the study, checks it, and speaks to people through the command line."""

__version__ = "0.1.0"
