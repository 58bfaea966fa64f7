"""Quickstart: index a reference, serve it, and label a query in one command."""
