from .memory import plan_memory as plan_memory
