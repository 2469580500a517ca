"""Scripted stand-ins for the models behind the roles; see `server`."""
