"""The stages, one file each, read in the same order: docstring, settings, run, helpers."""
