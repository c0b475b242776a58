"""Cron as a service on Postgres."""

__version__ = "0.1.0"
