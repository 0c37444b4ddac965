"""What players minimise: pure functions, one equation each, with the paper it comes from."""
