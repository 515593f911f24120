"""The main job, end to end: sample, fit three ways, overlay the replica theory, write a report."""
