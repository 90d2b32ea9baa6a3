"""Sources that come with pphub."""
