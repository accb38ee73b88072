"""The transactions in the archive: read from the WAL, indexed, and told with their tables' names."""
