"""The observer ``trace``: what happens in a sandbox, as JSON."""
