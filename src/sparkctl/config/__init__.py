"""Recipes, overrides, and settings that are checked before anything runs."""
