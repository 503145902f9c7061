"""The few numbers that the master's rules need, as plain values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says for the state machine. Durations in seconds."""

    workers: int = 1
    all_at_once: bool = False
    """Start every successor before any predecessor drains (`--reload-strategy all`)."""
    soak_interval: float = 0.5
    boot_timeout: float = 60.0
    graceful_timeout: float = 30.0
    drain_timeout: float = 300.0
    kill_timeout: float = 5.0
    linger_timeout: float = 10.0
    max_draining: int = 2
    watchdog_timeout: float = 30.0
    """How long a worker may make no progress; 0: for ever."""
    shutdown_delay: float = 0.0
    """From TERM to the stop: the workers serve on, and health checks say 503."""
    waits_for_change: bool = False
    """A first boot that fails ends nothing: it is tried again when files have changed (`--reload`)."""
