"""Alembic runs this: migrate over the connection that it is handed, inside its transaction."""

from alembic import context

from baldur.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # the changes and the record of the revision commit together, on SQLite too
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
