"""How a model is made: labelled searches, samples, batches, fine-tuning."""
