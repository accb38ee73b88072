"""Where images come from: the engine itself, a registry, or the wheels that are installed here."""
