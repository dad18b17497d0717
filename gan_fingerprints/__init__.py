"""The command lines, and the console command `gan-fingerprints`."""
