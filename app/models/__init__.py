"""What is shown, as param classes without Panel: tested by calling them."""
