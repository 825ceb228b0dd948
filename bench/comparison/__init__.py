"""Compare the service with a bare gRPC server, the published recipe, and direct calls of the model's API."""
