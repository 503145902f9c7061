"""The process beside the master that watches files (`--reload`)."""
