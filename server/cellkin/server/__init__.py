"""The gRPC server: loads published versions and answers from them."""
