"""Numbers from tables, pure."""
