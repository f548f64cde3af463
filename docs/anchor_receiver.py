#!/usr/bin/env python3
"""Keeps the heads of manifests: appends what is posted to a file, for `auditdrain verify --anchor FILE`.

usage: anchor_receiver.py FILE PORT    (on loopback: put TLS in front, and let in nobody but the service)
"""
import http.server, os, sys

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        if not 0 < length <= 4096:  # a head has some 350 bytes
            return self.send_error(413)
        head = self.rfile.read(length)
        with open(sys.argv[1], "ab") as kept:
            kept.write(head + b"\n")
            kept.flush()
            os.fsync(kept.fileno())
        self.send_response(204)  # only now does the service count it as kept
        self.end_headers()

server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Receiver)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
