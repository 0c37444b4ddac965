"""Where examples come from, and what a network must know about them."""
