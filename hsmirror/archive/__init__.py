"""The archive on disk: where things lie, how they are written, what is held."""
