"""Settings of every tier: a property has no deadline, since a loaded machine is no defect of the code."""

from hypothesis import settings

settings.register_profile("flywheel", deadline=None)
settings.load_profile("flywheel")
