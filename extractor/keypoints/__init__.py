"""RGB array -> local features: SIFT, XFeat and the codes they are stored in."""
