"""Where queries come from: Kafka deliveries, their offsets, and Redis profiles."""
