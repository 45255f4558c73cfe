"""The study's own models and everything estimated from them."""
