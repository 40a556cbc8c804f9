"""The stages, plan → fetch → write → commit, and the run that composes them."""
