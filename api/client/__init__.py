"""A client of the API: copy same_thing.py to wherever it is needed."""
