"""A diagnosis to look at: one module a format, each `render(report) -> str`; import the one you need."""
