"""Readers and writers of checkpoint files; none needs torch or paddle, and none runs what a file says."""
