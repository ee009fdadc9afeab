"""The command line of the operator (who runs the service)."""
