"""Records of what happened to workers, and where they go."""
