"""Results of runs: their schema, the store they land in, and tables of them."""
