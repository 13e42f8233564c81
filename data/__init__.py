"""From files to batches. The modules at this level are commands; start with `data_process.py`.

`acquisition` downloads raw data sets, `preparation` converts them to annotation lines and masks,
`loading` reads these for training and evaluation, `text` looks up word vectors, `synthetic`
generates the demo set, and `support` contains helpers of all of them.
"""
