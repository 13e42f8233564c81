"""Training on several devices, or in several processes on one machine or on several.

`cluster` finds out which processes train together and on which devices, `processes` lets them
exchange what they know, `batches` divides batches among replicas, and `evaluation` divides the
images of a set. A replica is one device that computes with its part of each batch; a process has
one replica or several. Process 0, the chief, is the only one that writes and reports.
"""
