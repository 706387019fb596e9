"""Tools that ask real services over HTTP."""
