"""The application's data layer: a starter to change, with tables, migrations and seeds of its own."""
