"""The conformance suites, run against real workers of ours, and tests of the suites themselves."""
