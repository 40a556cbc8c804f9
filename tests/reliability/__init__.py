"""What the promise in the README rests on, measured: each module tries one kind of mishap and counts."""
