"""The study as data: its description, its runs, and where their files go."""
