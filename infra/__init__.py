"""What puts the rooms together: pipeline, settings, telemetry, command line."""
