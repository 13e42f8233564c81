"""The browser page. Start with `server.py`."""
