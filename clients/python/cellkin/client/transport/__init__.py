"""The connection to a server: which one, its channel, requests as data, errors."""
