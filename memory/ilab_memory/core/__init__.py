"""Models, configuration, errors and the `Store` interface. Imports nothing else of the library."""
