"""The stages, one file each, read in the same order: docstring, settings, run, helpers. The settings and the credit of train
lie in training/."""
