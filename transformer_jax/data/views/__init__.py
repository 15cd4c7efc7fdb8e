"""How a corpus is seen by a family of models: one file per view."""
