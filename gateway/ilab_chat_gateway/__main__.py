"""Run the command `ilab-chat-gateway`."""

import sys

from ilab_chat_gateway.start import main

sys.exit(main())
