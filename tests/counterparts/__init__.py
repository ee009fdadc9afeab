"""restauth with real software of other projects: frameworks, servers, proxies, clients."""
