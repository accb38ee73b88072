"""The database as the application sees it: connections, tenants and the policies between them."""
