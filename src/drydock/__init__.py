"""drydock: a Postgres 16 + pgvector and a Redis for every checkout of a repository."""

__version__ = "0.1.0"
