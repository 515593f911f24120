from .memory import PlannedFit as PlannedFit
