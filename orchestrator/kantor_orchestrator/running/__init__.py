"""Starting the roles, and keeping them alive."""
