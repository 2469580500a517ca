"""What a round can start from without any data of a user's own: personas and families of problems."""
