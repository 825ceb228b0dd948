"""The IdempotencyStore port: one effect per request_id, on SQLite or PostgreSQL."""
