"""What a trained model reaches: loss and bits per byte; exact match, BLEU and chrF of what it generates."""
