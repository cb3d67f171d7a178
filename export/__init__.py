"""SavedModels of trained rankers, with the embedding table inside."""
