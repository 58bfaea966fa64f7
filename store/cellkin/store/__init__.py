"""What is kept: the catalog of versions, LanceDB tables, index artifacts and their integrity."""
