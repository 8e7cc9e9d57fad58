"""The outside world: business objects, connectors and flows. Plain Python, usable from any job runner."""
