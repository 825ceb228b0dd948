"""Values, configuration and the port of the library: what every store and every caller shares."""
