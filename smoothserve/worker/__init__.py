"""A worker: loads the application and serves it."""
