"""Visual backbones: an image to features at strides 8, 16 and 32. Start with `darknet53.py`."""
