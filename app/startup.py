"""Once per server process, by `panel serve --setup`: logging, and the hub."""

import functools
import gc
import logging

from tornado.ioloop import IOLoop

from app import server
from enms_core import supervise
from enms_core.settings import Settings

supervise.die_with_parent()
settings = Settings.from_env()
logging.basicConfig(
    level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
)
server.limit_waiting()  # the HTTP server is made after this
running = server.start(settings)
IOLoop.current().add_callback(functools.partial(server.run, running))
IOLoop.current().add_callback(server.end_politely, running)
gc.collect()
gc.freeze()  # what was imported stays: to look through it again and again stops the loop for 0.1 s
