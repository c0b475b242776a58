"""Postgres: one statement a function, the SQL beside it. Nothing here begins, commits or retries a transaction."""
