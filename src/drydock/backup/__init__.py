"""Logical backups: pg_dump's, proven by restoring them, kept in `backups/dumps`, one folder each.

foreign: dumps that drydock did not make.
offsite: backups sent to an object store, and fetched from it.
scheduling: backups at their time, and whether the last proven one is young enough.
"""
