"""Every byte on disk: the store of users and sessions, and the private key file."""
