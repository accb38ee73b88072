"""Backups at their time: when one is due, who calls, what came of it, and whether the last is young enough."""
