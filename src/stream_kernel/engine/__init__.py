"""Engines run groups: in this process or in worker processes. What one can do and another cannot is in their capabilities."""
