"""Training stages: each a short story from records to a finished stage folder."""
