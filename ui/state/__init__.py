"""The visitor's question and the state of the session."""
