from .run import plan as plan
