"""Domains as packages: a folder says tables, tools, rules and wishes, and the right behaviour is computed from it.

Everything here is a function of (domain, seed): no wall clock, no floats, no network, nothing kept between calls.
"""
