"""Packages of domains: where they come from, under which digest they are pinned, and who has them at hand."""
