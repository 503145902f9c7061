"""The master: owns the listeners, starts and swaps workers, never imports the application."""
