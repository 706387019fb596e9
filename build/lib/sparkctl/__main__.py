"""`python -m sparkctl`."""

from sparkctl.cli import main

main()
