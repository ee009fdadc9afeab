"""What an account and a session may do."""
