"""What a public server needs between its visitors and the engine: limits, turns, galleries."""
