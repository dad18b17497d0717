"""Who has which fingerprint of which model, and all that happened to it."""
