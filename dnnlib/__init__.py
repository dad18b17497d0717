"""General helpers that know nothing about GANs: errors, command lines, files, formats."""
