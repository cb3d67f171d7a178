"""Stage 1: align image and text encoders on the shop's items."""
