"""Tools that need nothing but this process."""
