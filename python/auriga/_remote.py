"""What has come from another process with an exception; loaded when there is one."""

from concurrent.futures.process import _RemoteTraceback
from multiprocessing.pool import RemoteTraceback as _PoolTraceback


class RemoteTraceback(_PoolTraceback, _RemoteTraceback):
    """The cause of an exception from a worker process: its traceback there, as text."""
