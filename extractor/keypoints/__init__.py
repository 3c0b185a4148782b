"""RGB array -> local features: SIFT, XFeat and their stored encoding."""
