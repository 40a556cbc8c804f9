"""Arguments to settings, errors to exit statuses, progress on the way; no logic."""
