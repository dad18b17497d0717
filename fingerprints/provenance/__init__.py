"""What a picture or a document says of its origin, signed: C2PA manifests, case reports."""
