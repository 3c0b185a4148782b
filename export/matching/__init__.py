"""Export of the matching models: XFeat, LighterGlue and the products of SIFT bytes."""
