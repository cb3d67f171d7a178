"""Pages that need nothing beside themselves: HTML from text, and the file around it."""
