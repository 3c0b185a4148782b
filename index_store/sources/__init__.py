"""Sources of photos: folders, lists, IIIF manifests; and what changed in them."""
