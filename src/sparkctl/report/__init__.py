"""What a run shows: figures, terminal tables, and the HTML page."""
