"""Who writes and who judges: the only home of model libraries and litellm. Each is a port; none knows a stage."""
