"""What you type: options, one file per group of commands, printing."""
