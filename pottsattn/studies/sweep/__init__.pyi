from .against_theory import deviations as deviations
from .config import SweepConfig as SweepConfig
from .config import read_config as read_config
from .run import run_sweep as run_sweep
from .table import SweepRow as SweepRow
from .table import SweepTable as SweepTable
