"""The HyperStudy API, served over real HTTP from a `Source`: made-up data (the lab) or an archive."""
