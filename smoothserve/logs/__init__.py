"""Log lines: their format, where they go, and the access log."""
