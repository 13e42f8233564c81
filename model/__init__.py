"""The network, its targets, losses, decoding and weight files."""
