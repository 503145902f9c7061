"""A load client that classifies every outcome and retries nothing, and the scenarios that use it."""
