"""What attackers can do, what it costs them, and what is left of the fingerprint."""
