"""The verification service: a page for people and an API for programs, over one detector."""
