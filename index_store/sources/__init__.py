"""Where photos come from: folders, lists, IIIF manifests; what changed in them."""
