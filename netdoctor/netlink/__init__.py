"""A small declarative netlink reader: it can only form GET requests, so it cannot change what it looks at."""
