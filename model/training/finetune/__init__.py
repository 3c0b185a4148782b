"""Fine-tuning on labelled photos: contrastive, triplet and n-tuple losses."""
