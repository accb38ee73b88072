"""Dumps that drydock did not make: what they are, what is in them, and how they are loaded."""
