"""From a shop's catalogue and logs to training records."""
