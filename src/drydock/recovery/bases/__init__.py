"""Base backups: taken, described, proven."""
