"""Models, configuration, errors and the `Store` interface. Of the library, it imports only `limits`."""
