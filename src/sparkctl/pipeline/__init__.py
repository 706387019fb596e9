"""What runs, in which order, and what need not run again."""
