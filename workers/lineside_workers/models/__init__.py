"""Models on disk: signed folders, versions and their stages, replay before a promotion."""
