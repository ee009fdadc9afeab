"""HTTP: the WSGI app, its routes, and the guard for other WSGI apps."""
