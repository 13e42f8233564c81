"""The page for the browser. Start with `server.py`.

`server.py` opens and closes the page, `app.py` lays it out, `answers.py` computes what it shows.
"""
