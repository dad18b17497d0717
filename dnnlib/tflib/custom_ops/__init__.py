"""The command that builds and tests the custom operations."""
