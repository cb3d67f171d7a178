"""The paper's tables and figures, on the user's data."""
