"""What training and evaluation read: annotations, images, masks, anchors and cached features.

`pipeline.py` combines them into batches for training; start there. `image_groups.py` loads the
images of an evaluation. `annotations.py` reads referents, `images.py`
and `masks.py` read files, `letterbox.py` maps them to the input of the network and back,
`anchors.py` reads and finds anchors, `feature_store.py` keeps features on disk. `boxes.py` and
`errors.py` are shared. The package `augmentation` varies training samples.
"""
