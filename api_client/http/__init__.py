"""The HTTP transport: connections, pools, proxies, name resolution."""
