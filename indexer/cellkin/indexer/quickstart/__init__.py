"""From two files to labels and a page: a reference indexed, served and asked in one go."""
