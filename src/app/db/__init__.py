"""The database: connections, tenancy, resilience."""
