"""The parts of a load forecast: the wall clock, a regression, trees, habits; how good it was."""
