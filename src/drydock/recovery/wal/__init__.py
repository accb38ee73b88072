"""The WAL as it lies on disk: positions, segments, timelines, pages and records."""
