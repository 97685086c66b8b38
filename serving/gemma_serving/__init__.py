"""Serving: the contract, the gateway, the engines and the weights fetcher of one Gemma pod."""
