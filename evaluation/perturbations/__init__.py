"""What happens to pictures, done to 8-bit pictures by the codecs and filters that do it there."""
