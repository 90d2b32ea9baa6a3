"""Where files live under PPNLP_HOME, and how they get there unharmed."""
