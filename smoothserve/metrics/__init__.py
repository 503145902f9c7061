"""The metrics' process: answers Prometheus from what the master tells on its control socket."""
