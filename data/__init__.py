"""Files to batches. The modules at this level are commands; start with `data_process.py`.

`loading` is what training and evaluation read with, `preparation` turns raw data sets into
annotation lines, `acquisition` downloads them, `text` looks words up, `synthetic` draws the demo
set, `support` holds what all of them use.
"""
