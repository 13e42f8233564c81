"""What the entry points run. Start with `training`, `evaluation` or `prediction`.

`visualization` draws, `export` writes other formats, `page` serves the browser page.
"""
