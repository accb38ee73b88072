"""Physical backups: the WAL archive, base backups, and what they make possible: any earlier moment, and a history."""
