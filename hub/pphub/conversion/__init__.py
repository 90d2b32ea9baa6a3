"""Turns a torch checkpoint into a Paddle model folder, by anchored rules, and keeps a record of what it did."""
