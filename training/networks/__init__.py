"""Generator, discriminator and decoder."""
