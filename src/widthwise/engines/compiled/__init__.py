"""The C library behind the compiled engine: its source, its build, and how it is called."""
