"""Where arrays lie: mesh axes, and the table from logical axis names to them."""
