"""Other people's trainers, each in an environment of its own under .bench/."""
