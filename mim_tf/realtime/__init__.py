"""RIM: new and changed items, encoded as they come, into the store and from there to every server."""
