"""Studies of the server under load, faults and kills."""
