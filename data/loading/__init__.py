"""What training and evaluation read: annotations, images, masks, anchors and cached features.

`pipeline.py` combines them into batches; start there.
"""
