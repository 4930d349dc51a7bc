"""Where a collection lives: the Engine protocol, and the engines."""
