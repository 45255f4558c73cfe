"""The runs table: its one schema, what its rows say together, and its shape."""
