"""The studio: everything in the browser, while it trains. It reads run folders and starts the same commands."""
