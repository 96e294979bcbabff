"""How good an answer is: labelled searches and the scorer."""
