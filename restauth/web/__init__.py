"""HTTP in and out: the WSGI callable, its routes, and the middleware for any WSGI app."""
