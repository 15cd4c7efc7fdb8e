"""Text to numbers and back: one file per tokenizer."""
