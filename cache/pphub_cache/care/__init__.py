"""Listing, removing, verifying and cleaning what is in a cache, while others use it."""
