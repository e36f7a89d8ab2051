"""Label set, proposals and the errors that every layer shares."""
