"""The history of the schema, one Alembic migration a file in `versions`."""
