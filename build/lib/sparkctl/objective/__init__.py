"""The objective as small pure functions: rewards and advantages (numpy), losses and batches (torch)."""
