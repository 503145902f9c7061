"""smoothserve beside the servers that it replaces, in turns in one run."""
