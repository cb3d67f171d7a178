"""SavedModels of trained rankers, with the embedding table inside or beside them, and of the item encoder."""
