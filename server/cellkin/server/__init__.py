"""The gRPC server: loads published versions and answers requests from them."""
