"""What training and evaluation read: annotations, images, masks, anchors, cached features.

`pipeline.py` turns them into batches; start there.
"""
