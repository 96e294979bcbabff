"""One small language model: prompt, grammar, generation, decoding; and the baseline."""
