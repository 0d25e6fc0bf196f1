"""Groups of supervised worker processes."""
