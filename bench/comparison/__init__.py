"""The service beside a bare gRPC server, the published recipe, and the model's API called directly."""
