"""One module a stage; each takes the session and returns what it found."""
