"""Python that a model wrote, run behind walls."""
