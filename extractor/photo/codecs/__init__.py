"""Extensions to Pillow's decoding: colours, bit depths, incomplete files."""
