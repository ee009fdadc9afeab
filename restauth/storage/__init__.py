"""Every byte on disk or in a database: users and sessions, and the key file."""
