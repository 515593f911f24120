from . import bridge as bridge
from . import plan as plan
from . import sweep as sweep
