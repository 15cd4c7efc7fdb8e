"""What a trained model writes, held against references: exact match, BLEU and chrF."""
