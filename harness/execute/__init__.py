"""Where runs are carried out: one interface, one executor a file, and the worker that all of them call."""
