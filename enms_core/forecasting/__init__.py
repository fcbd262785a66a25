"""The parts of a load forecast: the wall clock, a ridge regression and boosted trees."""
