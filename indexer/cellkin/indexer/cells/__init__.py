"""The cell job: from counts to a published cell index."""
