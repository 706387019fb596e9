"""Files by key, and remembered replies."""
