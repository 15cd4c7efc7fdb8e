"""Looking into a trained model: which heads matter, and what is left without the others."""
