"""One module per endpoint: read the body, decide what to generate, say how it is worded."""
