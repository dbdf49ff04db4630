"""Pictures made outside of this process: by one process on each device, by a server, by a cluster.

`Pool` is the renderer; its workers draw. A worker that is lost loses no picture: it is drawn again.
"""

from loralathe.rendering.elsewhere.messages import Opening
from loralathe.rendering.elsewhere.pool import Pool
from loralathe.rendering.elsewhere.processes import process_pool, read_devices
from loralathe.rendering.elsewhere.work import LostError, Report, Worker

__all__ = ["LostError", "Opening", "Pool", "Report", "Worker", "process_pool", "read_devices"]
