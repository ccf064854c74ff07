"""One module for each file format. Readers return arrays as stored and never unpickle."""
