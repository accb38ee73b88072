"""Backups sent away and fetched again: the object store, how they lie in it, push and pull."""
