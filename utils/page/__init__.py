"""The page for the browser. Start with `server.py`.

`server.py` opens and closes the page, and `access.py` decides who can reach it. `app.py` lays it
out, and `answers.py` computes what it shows. `gate.py` refuses requests that the page does not
send, and `uploads.py` keeps the files.
"""
