"""Photos of lists and IIIF manifests, collected in a folder of the store."""
