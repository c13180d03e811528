"""Container networks made by hand: a described topology becomes a plan; taking it away is the plan's undo."""
