"""What keeps an archive small and sound: sealing, retention, the attendant that does both, and the audit."""
