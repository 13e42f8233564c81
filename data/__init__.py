"""Files to batches: annotations, masks, words, letterboxing and the input pipeline."""
