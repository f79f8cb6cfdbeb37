"""What people say of the cells: edits made in QuPath, and the labels that they are."""
