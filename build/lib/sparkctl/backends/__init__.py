"""Back ends: the only home of model libraries, litellm and HTTP. Each is a port; none knows a stage."""
