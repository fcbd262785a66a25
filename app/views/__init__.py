"""Pages: a layout built once, and updates of what it shows."""
