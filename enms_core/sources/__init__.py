"""Where readings come from: each source yields frames of machine, metric, time and value."""
