"""What a run found, for people to look at: tables, duplicates, sorted folders, a gallery."""
