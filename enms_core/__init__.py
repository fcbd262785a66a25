"""EnMS core: readings, baselines, detection, training and events; no Panel, no Bokeh, no Tornado."""
