"""Logical backups: pg_dump's, proven by restoring them, kept in `backups/dumps`, one folder each."""
