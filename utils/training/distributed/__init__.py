"""Training on several devices, or in several processes. Start with `processes.py`.

`cluster.py` finds out which processes train together and on which devices, `processes.py` lets
them exchange what they know, `batches.py` divides batches among replicas, and `evaluation.py` the
images of a set. A replica is one device that computes with its part of each batch; a process has
one replica or several. Process 0, the chief, is the only one that writes and reports.
"""
