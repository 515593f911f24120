from .run import bridge as bridge
