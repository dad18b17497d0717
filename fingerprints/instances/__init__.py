"""The papers of the generators that licensees get."""
