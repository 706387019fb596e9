"""From answers to what a person reads: summary statistics and terminal tables."""
