from .diagnostics import autocorrelation_time as autocorrelation_time
from .diagnostics import diagnose as diagnose
from .result import SampleResult as SampleResult
from .sampler import sample as sample
from .sampler import sample_to_file as sample_to_file
from .schedule import Schedule as Schedule
from .schedule import Tempering as Tempering
from .traces import read_traces as read_traces
