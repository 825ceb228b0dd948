"""The store on PostgreSQL, for several processes and machines. Needs the extra `postgres`."""

from ilab_memory.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
