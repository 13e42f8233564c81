"""The page for the browser. Start with `server.py`.

`server.py` opens and closes the page, and `access.py` decides who can reach it. `app.py` lays it
out, `answers.py` computes what it shows, and `markup.py` holds its HTML, CSS and JavaScript.
`gate.py` refuses requests that the page does not send, and `uploads.py` keeps the files.
`screenshot.py` draws the README's picture with `browser.py`.
"""
