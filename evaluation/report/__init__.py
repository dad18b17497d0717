"""Numbers as a document that people open in a browser or print."""
