#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A management controller for QEMU's `ipmi-bmc-extern`: answers what Linux asks of one, and DCMI's Get Power Reading.

    qemu-system-x86_64 ... -chardev socket,id=bmc,path=SOCKET,server=on,wait=off
        -device ipmi-bmc-extern,chardev=bmc,id=bmc0 -device isa-ipmi-kcs,bmc=bmc0
    bmc.py --state FILE --connect SOCKET       waits for QEMU, prints `connected`, and serves until it ends
    guest: modprobe ipmi_si, ipmi_devintf; then there is /dev/ipmi0

The other way round, `bmc.py --state FILE --port PORT` listens on loopback (0: any free port) and prints `listening PORT`.
QEMU must then connect late (`reconnect=1`, since 9.2 `reconnect-ms=1000`): a line that is open before the machine has its
KCS device crashes QEMU 7.2.

FILE is read at every power reading, so a test changes what the controller says while the guest runs:

    344         344 W, being measured
    inactive    0 W, not being measured
    absent      completion code 0xc1: there is no DCMI
    raw HEX     completion code and data as given
    silent      no answer; QEMU answers "timed out" (0xc3) by itself after 4 s

Each power reading is printed as `asked WHAT`. The line's protocol is the "VM" one of OpenIPMI's lanserv, as in QEMU's
hw/ipmi/ipmi_bmc_extern.c: a message is its number, network function and lun, command, data and a checksum that makes the
sum zero, and ends with 0xa0; a command to the machine ends with 0xa1; 0xaa escapes these three, with bit 4 set in the next.
"""

import argparse
import socket
import struct
import time

END_OF_MESSAGE, END_OF_COMMAND, ESCAPE = 0xA0, 0xA1, 0xAA

OK, INVALID_COMMAND, INVALID_DATA = 0x00, 0xC1, 0xCC

APP, GROUP = 0x06, 0x2C
DCMI = 0xDC
ACTIVE = 0x40


def framed(data, end):
    """The bytes on the wire of a message or a command."""
    out = bytearray()
    for byte in data:
        if byte in (END_OF_MESSAGE, END_OF_COMMAND, ESCAPE):
            out += bytes([ESCAPE, byte | 0x10])
        else:
            out.append(byte)
    out.append(end)
    return bytes(out)


def messages(chunks):
    """The messages in what comes over the wire, with their checksums taken off; commands of the machine are passed over."""
    data, escaped = bytearray(), False
    for chunk in chunks:
        for byte in chunk:
            if byte == END_OF_MESSAGE:
                if len(data) >= 4 and sum(data) % 256 == 0:
                    yield bytes(data[:-1])
                else:
                    print("garbage", bytes(data).hex(), flush=True)
                data.clear()
            elif byte == END_OF_COMMAND:
                data.clear()
            elif byte == ESCAPE:
                escaped = True
            else:
                data.append(byte & ~0x10 if escaped else byte)
                escaped = False


def power_reading(watts, state):
    """Answer to Get Power Reading: now, minimum, maximum, average, time, period in milliseconds, state."""
    return struct.pack("<BBHHHHIIB", OK, DCMI, watts, 1, 0xFFFE, watts, int(time.time()), 3_600_000, state)


class Controller:
    def __init__(self, state):
        self.state = state
        self.enables = 0

    def power(self):
        """What the state file says: an answer, or None for silence."""
        with open(self.state, encoding="ascii") as file:
            said = file.read().strip()
        print("asked", said, flush=True)
        if said == "silent":
            return None
        if said == "absent":
            return bytes([INVALID_COMMAND])
        if said == "inactive":
            return power_reading(0, 0)
        if said.startswith("raw "):
            return bytes.fromhex(said.removeprefix("raw "))
        return power_reading(int(said), ACTIVE)

    def answer(self, function, command, data):
        """Completion code and data, or None for no answer."""
        if (function, command) == (GROUP, 0x02):
            return self.power() if data[:2] == bytes([DCMI, 0x01]) else bytes([INVALID_DATA])
        if function != APP:
            return bytes([INVALID_COMMAND])
        if command == 0x01:
            # Get Device ID: id, revision, firmware 1.0, IPMI 2.0, a chassis device, manufacturer and product 0.
            return bytes([OK, 0x20, 0x01, 0x01, 0x00, 0x02, 0x80, 0, 0, 0, 0, 0])
        if command == 0x2E and data:
            self.enables = data[0]
            return bytes([OK])
        if command == 0x2F:
            return bytes([OK, self.enables])
        if command == 0x30:
            # Clear Message Flags.
            return bytes([OK])
        if command == 0x31:
            # Get Message Flags: nothing waits.
            return bytes([OK, 0])
        if command in (0x33, 0x35):
            # Get Message, Read Event Message Buffer: empty.
            return bytes([0x80])
        if command in (0x08, 0x37):
            # Get Device GUID, Get System GUID.
            return bytes([OK]) + bytes(range(16))
        if command == 0x42 and data:
            # Get Channel Info: the system interface, KCS, no sessions.
            return bytes([OK, data[0] & 0x0F, 0x0C, 0x05, 0x00, 0xF2, 0x1B, 0x00, 0xFF, 0xFF])
        return bytes([INVALID_COMMAND])


def serve(connection, controller):
    """One connection of a machine, until it closes."""
    try:
        for message in messages(iter(lambda: connection.recv(4096), b"")):
            number, function, command, data = message[0], message[1], message[2], message[3:]
            answer = controller.answer(function >> 2, command, data)
            if answer is None:
                continue
            # An answer's network function is the question's plus one.
            body = bytes([number, function | 0x04, command]) + answer
            connection.sendall(framed(body + bytes([-sum(body) % 256]), END_OF_MESSAGE))
    except ConnectionError as error:
        print("lost", error, flush=True)


def connected(path, patience):
    """A connection to QEMU's socket, which may not be there yet."""
    until = time.monotonic() + patience
    while True:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(path)
            return line
        except (FileNotFoundError, ConnectionRefusedError):
            line.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", required=True, help="file with what the controller says")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--connect", metavar="SOCKET", help="QEMU's socket; waited for for 30 s")
    place.add_argument("--port", type=int, help="port to listen on, on loopback; 0: any free one")
    arguments = parser.parse_args()
    controller = Controller(arguments.state)
    if arguments.connect:
        with connected(arguments.connect, 30) as line:
            print("connected", flush=True)
            serve(line, controller)
        return
    with socket.create_server(("127.0.0.1", arguments.port)) as server:
        print("listening", server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            with connection:
                serve(connection, controller)


if __name__ == "__main__":
    main()
