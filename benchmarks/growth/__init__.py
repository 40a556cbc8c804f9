"""How time and memory grow with what an archive holds."""
