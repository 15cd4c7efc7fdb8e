"""From a config to a trained run: `loop.train` is the way in."""
