"""MC-dropout, and the engine that makes T samples cost little more than one pass."""
