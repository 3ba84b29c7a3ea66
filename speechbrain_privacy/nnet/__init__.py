"""Pure torch modules: gradient reversal, adversaries, schedules, pooling."""
