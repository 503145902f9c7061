"""Fuzzing: any bytes are accepted or rejected, never another exception, never a hang."""
