"""The engine. Import it before torch: OpenMP reads how its threads are to wait for each other once, when it is loaded.

Awake, for a millisecond: a step has hundreds of parallel products, and waking a thread costs as much as many of them.
libgomp does so by itself only while a process has no more such threads than cores; but every thread that ever computed
keeps a team of them, and the one that loads a model is another than the one that runs it.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "active")
os.environ.setdefault("GOMP_SPINCOUNT", "100000")  # about a millisecond; libgomp's own is three
