#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""poll.py PORT: asks /readyz twenty times a second, and prints when each answer came (CLOCK_REALTIME in nanoseconds) and its status; 0
where nobody answered."""
import http.client
import sys
import time

while True:
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=1)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        status = 0
    connection.close()
    print(time.time_ns(), status, flush=True)
    time.sleep(0.05)
