"""`python -m ilab_memory` is the command `ilab-memory`."""

from ilab_memory.command import main

raise SystemExit(main())
