"""Where answers go: routes, and the Kafka producer that waits for the broker's word."""
