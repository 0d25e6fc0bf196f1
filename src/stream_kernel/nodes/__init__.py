"""Nodes: how they are declared, found, built and run. Nothing here knows of processes, pipes or bytes."""
