"""The database: connections, tenancy and resilience, under the names that a service imports.

Each name is looked up when it is first used: migrations need `app.db.policies` alone, and what a service needs takes
0.2 s to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.db.breaker import CircuitBreaker
    from app.db.database import Database, get_database
    from app.db.ledger import Events, PoolStats
    from app.db.retry import RetryPolicy
    from app.db.tenancy import current_tenant, system_access, tenant_context

__all__ = [
    "CircuitBreaker",
    "Database",
    "Events",
    "PoolStats",
    "RetryPolicy",
    "current_tenant",
    "get_database",
    "system_access",
    "tenant_context",
]
_MODULES = {
    "CircuitBreaker": "breaker",
    "Database": "database",
    "Events": "ledger",
    "PoolStats": "ledger",
    "RetryPolicy": "retry",
    "current_tenant": "tenancy",
    "get_database": "database",
    "system_access": "tenancy",
    "tenant_context": "tenancy",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
