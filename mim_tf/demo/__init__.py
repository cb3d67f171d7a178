"""Demonstrations on a drawn shop: the whole chain, and new items that become rankable while it is served."""
