"""A component that runs in a process of another Python environment, and how it is spoken to.

Control messages are JSON, one a line, over the process's standard input and output. Arrays go
through ``.npy`` files in a folder of the process's own. Files, and not shared memory: attached
from an unrelated process it is registered with two resource trackers, of which one removes it
under the other (before Python 3.13); in containers ``/dev/shm`` is often 64 MB, and to write
beyond that ends *this* process with SIGBUS; and macOS and Windows have other rules for names,
sizes and life time. A file that is read right after it was written comes from memory too: a tile
of 1024 x 1024 px there and its labels back take a few hundredths of a second.

:mod:`~cellseg_core.subprocess_worker.script` is what runs there. It needs the standard library of
Python 3.8 and numpy, and nothing of cellseg.
"""
