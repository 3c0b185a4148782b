"""The server under load, faults and kills."""
