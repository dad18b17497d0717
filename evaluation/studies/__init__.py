"""What is measured of a model that nobody attacks."""
