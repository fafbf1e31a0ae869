"""OpenStack Swift in one process, for tests: a proxy and one account, container and object server on a device that is a directory.

Run with Debian's own Python as `launcher.py DIRECTORY PROXY_PORT ACCOUNT_PORT CONTAINER_PORT OBJECT_PORT ACCESS_LOG`. What is in DIRECTORY from an
earlier run is served again. Nothing in /etc is read.
"""

import logging
import os
import sys
import time

CONFIGURATION = """
[DEFAULT]
swift_dir = {directory}
devices = {directory}/devices
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = WARNING
log_custom_handlers = launcher.log_to_output
"""

SERVER = """
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""

PROXY = """
[pipeline:main]
pipeline = access_log catch_errors gatekeeper healthcheck cache listing_formats bulk tempurl tempauth copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
node_timeout = 60
conn_timeout = 10
[filter:access_log]
paste.filter_factory = launcher:access_log
path = {access_log}
[filter:cache]
paste.filter_factory = launcher:cache
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
storage_url_scheme = http
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:tempurl]
use = egg:swift#tempurl
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
[filter:symlink]
use = egg:swift#symlink
"""


class Cache:
    """What Swift otherwise keeps in memcached: tokens, above all. A restart forgets them."""

    def __init__(self):
        self.values = {}

    def get(self, key, raise_on_error=False):
        value, ends = self.values.get(key, (None, 0))
        return value if not ends or ends > time.time() else None

    def set(self, key, value, serialize=True, time=0, min_compress_len=0, raise_on_error=False):
        self.values[key] = (value, time and globals()["time"].time() + time)

    def incr(self, key, delta=1, time=0):
        value = max(0, int(self.get(key) or 0) + int(delta))
        self.set(key, value, time=time)
        return value

    def decr(self, key, delta=1, time=0):
        return self.incr(key, -delta, time)

    def delete(self, key, server_key=None):
        self.values.pop(key, None)

    def set_multi(self, mapping, server_key=None, serialize=True, time=0, min_compress_len=0):
        for key, value in mapping.items():
            self.set(key, value, time=time)

    def get_multi(self, keys, server_key=None):
        return [self.get(key) for key in keys]


def cache(global_conf, **local_conf):
    kept = Cache()

    def filter(app):
        def serve(environ, start_response):
            environ["swift.cache"] = kept
            return app(environ, start_response)
        return serve
    return filter


def access_log(global_conf, path, **local_conf):
    out = open(path, "a", buffering=1)

    def filter(app):
        def serve(environ, start_response):
            # Before the others, who change it.
            method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING")
            target = environ.get("RAW_PATH_INFO", environ["PATH_INFO"]) + ("?" + query if query else "")

            def started(status, *more):
                out.write("%s %s %s\n" % (method, target, status.split()[0]))
                return start_response(status, *more)
            return app(environ, started)
        return serve
    return filter


def log_to_output(conf, name, log_to_console, log_route, fmt, logger, adapted_logger):
    # Nobody listens where it would log.
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.addHandler(logging.StreamHandler(sys.stderr))


def main():
    directory, *ports, access_log_path = sys.argv[1:]
    proxy, account, container, object_ = map(int, ports)

    import eventlet
    import eventlet.wsgi
    eventlet.patcher.monkey_patch(all=False, socket=True, select=True, thread=True)
    from swift.common import utils
    from swift.common.ring import RingBuilder
    from swift.common.wsgi import SwiftHttpProtocol, loadapp

    utils.SWIFT_CONF_FILE = os.path.join(directory, "swift.conf")
    utils.HASH_PATH_SUFFIX = b"roadstead"
    os.makedirs(os.path.join(directory, "devices", "disk"), exist_ok=True)
    configuration = CONFIGURATION.format(directory=directory)

    def start(name, port, text):
        path = os.path.join(directory, name + ".conf")
        with open(path, "w") as file:
            file.write(configuration + text)
        app = loadapp(path, global_conf={"log_name": name})
        eventlet.spawn(
            eventlet.wsgi.server,
            eventlet.listen(("127.0.0.1", port), backlog=4096),
            app,
            log_output=False,
            max_size=4096,
            protocol=SwiftHttpProtocol,
            capitalize_response_headers=False,
        )

    for name, port in (("account", account), ("container", container), ("object", object_)):
        builder = RingBuilder(4, 1, 0)
        builder.add_dev({"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "disk", "weight": 1})
        builder.rebalance(seed="0")
        builder.get_ring().save(os.path.join(directory, name + ".ring.gz"))
        start(name, port, SERVER.format(name=name))
    start("proxy", proxy, PROXY.format(access_log=access_log_path))
    while True:
        eventlet.sleep(3600)


if __name__ == "__main__":
    main()
