"""The command line: thin words over the public calls."""
