"""A pytest plugin that hands each test a database of its own.

One line in the conftest.py at the top of the tests switches it on:

    pytest_plugins = ["drydock.testing"]

Fixtures: `postgres`, `seeded_postgres`, `make_postgres`, `redis_namespace`, `postgres_server`. Each database is a clone
of a template that was migrated, and seeded, once. It is on a throwaway server in memory, not on the developer's own.
A failed test's database stays, and its report says how to connect.
"""

from drydock.testing.database import Database
from drydock.testing.fixtures import make_postgres, postgres, postgres_server, redis_namespace, seeded_postgres
from drydock.testing.hooks import pytest_addoption, pytest_configure, pytest_runtest_makereport, pytest_sessionfinish
from drydock.testing.namespace import Namespace

__all__ = [
    "Database",
    "Namespace",
    "make_postgres",
    "postgres",
    "postgres_server",
    "pytest_addoption",
    "pytest_configure",
    "pytest_runtest_makereport",
    "pytest_sessionfinish",
    "redis_namespace",
    "seeded_postgres",
]
