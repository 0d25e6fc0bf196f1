"""Configuration: parsed once, at the edge, into frozen values."""
