from .partition_function import log_partition as log_partition
